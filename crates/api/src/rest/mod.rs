//! `/api/v2`, one module for each resource.

use crate::routes::Routes;

pub(crate) fn routes(routes: Routes) -> Routes {
    routes
}
