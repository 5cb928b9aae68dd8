//! What the command line's verbs print and read: tables and documents, and the files that variables, connections and
//! pools are kept in. No IO but the reading of a file that the user named; where the data is, the binary knows.

mod connections;
mod files;
mod graph;
mod keys;
mod near;
mod numbers;
mod output;
mod pools;
mod rows;
mod uri;
mod variables;
mod yaml;

pub use connections::{
    ConnectionError, ExportFormat, check_extra, connection_from_json, connection_from_value, connections_text,
    extra_of, uri_of,
};
pub use files::{FileError, load};
pub use graph::dot;
pub use keys::{KeyError, check_key};
pub use near::near;
pub use output::{Format, Row, cut, render, row};
pub use pools::{pool_from_entry, pools_document};
pub use rows::{
    DAG_COLUMNS, connection_row, dag_row, import_error_row, pool_row, properties, run_row, task_instance_rows,
    triggered_row,
};
pub use uri::{UriError, connection_from_uri, has_scheme};
pub use variables::{ImportedVariable, variable_from_entry, variables_document};
pub use yaml::write as yaml;
