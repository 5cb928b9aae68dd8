//! `updraft variables`, `connections`, `pools` and `users`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::OutputArgs;

#[derive(Subcommand, Debug)]
pub enum VariablesCommand {
    /// List variables.
    List(ValuesArgs),
    /// Print the value of a variable.
    Get {
        key: String,
        /// The value is JSON: print it as such.
        #[arg(short, long)]
        json: bool,
        /// What to print if there is no such variable.
        #[arg(short, long, value_name = "VALUE", allow_hyphen_values = true)]
        default: Option<String>,
    },
    /// Set a variable.
    Set(SetVariableArgs),
    /// Delete a variable.
    Delete { key: String },
    /// Set the variables of a .json, .yaml or .env file.
    Import(ImportVariablesArgs),
    /// Write all variables to a JSON file; - for the standard output.
    Export {
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

/// What a list shows of secrets.
#[derive(Args, Debug, Clone, Copy)]
pub struct ValuesArgs {
    #[command(flatten)]
    pub output: OutputArgs,
    /// Show values, not only names.
    #[arg(long)]
    pub show_values: bool,
    /// With --show-values: put *** in the place of secrets.
    #[arg(long)]
    pub hide_sensitive: bool,
}

#[derive(Args, Debug)]
pub struct SetVariableArgs {
    pub key: String,
    #[arg(allow_hyphen_values = true)]
    pub value: String,
    /// What the variable is for.
    #[arg(long)]
    pub description: Option<String>,
    /// Store the value as a JSON text.
    #[arg(short, long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct ImportVariablesArgs {
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// What to do with a variable that exists.
    #[arg(short, long, value_enum, default_value_t = OnExisting::Overwrite)]
    pub action_on_existing_key: OnExisting,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnExisting {
    Overwrite,
    Fail,
    Skip,
}

#[derive(Subcommand, Debug)]
pub enum ConnectionsCommand {
    /// List connections.
    List(ValuesArgs),
    /// Show a connection, its password included.
    Get {
        conn_id: String,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Add a connection.
    Add(Box<AddConnectionArgs>),
    /// Delete a connection.
    Delete { conn_id: String },
    /// Add the connections of a .json, .yaml or .env file.
    Import(ImportConnectionsArgs),
    /// Write all connections to a .json, .yaml or .env file; - for the standard output.
    Export(ExportConnectionsArgs),
}

#[derive(Args, Debug)]
pub struct AddConnectionArgs {
    pub conn_id: String,
    /// Everything in one: type://login:password@host:port/schema?extra=value
    #[arg(long, value_name = "URI")]
    pub conn_uri: Option<String>,
    /// Everything in one, as a JSON object.
    #[arg(long, value_name = "JSON")]
    pub conn_json: Option<String>,
    /// The type, such as postgres or http.
    #[arg(long, value_name = "TYPE")]
    pub conn_type: Option<String>,
    /// What the connection is for.
    #[arg(long, value_name = "TEXT")]
    pub conn_description: Option<String>,
    /// The host.
    #[arg(long, value_name = "HOST")]
    pub conn_host: Option<String>,
    /// The user's name there.
    #[arg(long, value_name = "LOGIN")]
    pub conn_login: Option<String>,
    /// The user's password there.
    #[arg(long, value_name = "PASSWORD", allow_hyphen_values = true)]
    pub conn_password: Option<String>,
    /// The schema, database or path.
    #[arg(long, value_name = "SCHEMA")]
    pub conn_schema: Option<String>,
    /// The port.
    #[arg(long, value_name = "PORT")]
    pub conn_port: Option<String>,
    /// More, as a JSON object.
    #[arg(long, value_name = "JSON")]
    pub conn_extra: Option<String>,
}

#[derive(Args, Debug)]
pub struct ImportConnectionsArgs {
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Replace connections that exist.
    #[arg(long)]
    pub overwrite: bool,
}

#[derive(Args, Debug)]
pub struct ExportConnectionsArgs {
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The form of the file [default: by its name, and json for the standard output].
    #[arg(long, alias = "format", value_parser = ["json", "yaml", "env"])]
    pub file_format: Option<String>,
    /// How each connection is written in an .env file [default: uri].
    #[arg(long, value_parser = ["json", "uri"], ignore_case = true)]
    pub serialization_format: Option<String>,
}

#[derive(Subcommand, Debug)]
pub enum PoolsCommand {
    /// List pools.
    List(OutputArgs),
    /// Show a pool.
    Get {
        #[arg(value_name = "NAME")]
        pool: String,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Make or change a pool.
    Set(SetPoolArgs),
    /// Delete a pool.
    Delete {
        #[arg(value_name = "NAME")]
        pool: String,
    },
    /// Make or change the pools of a JSON file.
    Import {
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Write all pools to a JSON file; - for the standard output.
    Export {
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

#[derive(Args, Debug)]
pub struct SetPoolArgs {
    #[arg(value_name = "NAME")]
    pub pool: String,
    /// How many tasks may run in it at once; -1 for any number.
    #[arg(allow_negative_numbers = true)]
    pub slots: i64,
    pub description: String,
    /// Deferred tasks take slots too.
    #[arg(long)]
    pub include_deferred: bool,
}

#[derive(Subcommand, Debug)]
pub enum UsersCommand {
    /// List who may log in, and their roles.
    List(OutputArgs),
    /// Give a user another password.
    ResetPassword {
        #[arg(short, long)]
        username: String,
        /// The new password [default: one is made and printed].
        #[arg(short, long)]
        password: Option<String>,
    },
}
