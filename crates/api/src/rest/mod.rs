//! `/api/v2`, one module for each resource.

mod about;
pub(crate) mod assets;
pub(crate) mod backfills;
mod bulk;
mod config;
mod connections;
mod cursor;
pub(crate) mod dag_runs;
mod dag_sources;
mod dag_tags;
pub(crate) mod dag_versions;
mod dag_warnings;
pub(crate) mod dags;
mod health;
mod import_errors;
mod logs;
pub(crate) mod lookup;
mod pools;
pub(crate) mod serialized;
mod state_store;
mod strict;
pub(crate) mod task_instances;
mod tasks;
mod variables;
mod xcom;

use crate::routes::Routes;

pub(crate) fn routes(mut routes: Routes) -> Routes {
    let resources = [
        crate::auth::redirects,
        about::routes,
        assets::routes,
        backfills::routes,
        config::routes,
        connections::routes,
        dag_runs::routes,
        dag_sources::routes,
        dag_tags::routes,
        dag_versions::routes,
        dag_warnings::routes,
        dags::routes,
        health::routes,
        import_errors::routes,
        logs::routes,
        pools::routes,
        state_store::routes,
        task_instances::routes,
        tasks::routes,
        variables::routes,
        xcom::routes,
    ];
    for add in resources {
        routes = add(routes);
    }
    routes
}
