//! `/api/v2`, one module for each resource.

mod xcom;

use crate::routes::Routes;

pub(crate) fn routes(routes: Routes) -> Routes {
    xcom::routes(routes)
}
