//! `/api/v2`, one module for each resource.

mod dag_runs;
mod dag_versions;
mod dags;
mod lookup;
mod task_instances;
mod version;
mod xcom;

use crate::routes::Routes;

pub(crate) fn routes(mut routes: Routes) -> Routes {
    for add in [dags::routes, dag_runs::routes, task_instances::routes, version::routes, xcom::routes] {
        routes = add(routes);
    }
    routes
}
