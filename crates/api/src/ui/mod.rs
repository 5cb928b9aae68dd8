//! What only Airflow's web UI asks for: `/ui`, one module for each resource, and the pages themselves.
//!
//! The UI is that of the `apache-airflow-core` package in the Python environment; nothing of it is kept here.

mod assets;
mod calendar;
mod dags;
mod deadlines;
mod dependencies;
mod gantt;
mod graph;
mod grid;
pub(crate) mod pages;
mod stats;
mod tree;
mod who;

use crate::routes::Routes;

pub(crate) fn routes(mut routes: Routes) -> Routes {
    let resources = [
        assets::routes,
        calendar::routes,
        dags::routes,
        deadlines::routes,
        dependencies::routes,
        gantt::routes,
        graph::routes,
        grid::routes,
        stats::routes,
        who::routes,
    ];
    for add in resources {
        routes = add(routes);
    }
    routes
}
