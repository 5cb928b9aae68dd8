//! `updraft assets`.

use clap::{Args, Subcommand};

use super::OutputArgs;

#[derive(Subcommand, Debug)]
pub enum AssetsCommand {
    /// List assets, or aliases of assets.
    List(ListAssetsArgs),
    /// Show an asset, or an alias of assets.
    Details(AssetDetailsArgs),
    /// Make a run of the Dag that makes an asset.
    Materialize(MaterializeArgs),
}

#[derive(Args, Debug)]
pub struct ListAssetsArgs {
    /// List aliases.
    #[arg(long)]
    pub alias: bool,
    /// The columns to show, separated by commas.
    #[arg(long, value_delimiter = ',', default_value = "name,uri,group,extra")]
    pub columns: Vec<String>,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Args, Debug)]
pub struct AssetDetailsArgs {
    /// Show an alias.
    #[arg(long)]
    pub alias: bool,
    /// Its name.
    #[arg(long)]
    pub name: Option<String>,
    /// Its URI.
    #[arg(long)]
    pub uri: Option<String>,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Args, Debug)]
pub struct MaterializeArgs {
    /// Its name.
    #[arg(long)]
    pub name: Option<String>,
    /// Its URI.
    #[arg(long)]
    pub uri: Option<String>,
    #[command(flatten)]
    pub output: OutputArgs,
}
