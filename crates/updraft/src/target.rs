//! The Dag that `dags test` and `tasks test` are about: found in a file or in the Dags folder, and imported into memory.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow, bail};
use importer::dag_files;
use model::{Change, Dag, Json};
use python::ForkServer;
use python::bundles::{Bundles, ConfiguredBundle};
use python::import::{ImportRequest, import};
use store::memory::MemoryStore;
use store::{Commit, DagStore, ImportedDag, Page, Store, Write};

use crate::args::FolderArgs;
use crate::commands::{Context, meant};
use crate::folder;
use crate::stack::{self, Stack};

/// A bundle that is there.
#[derive(Clone)]
struct Bundle {
    name: String,
    path: PathBuf,
    version: Option<String>,
}

/// Where to look for a Dag.
pub struct Target {
    /// The folders that Python may import from; empty for Airflow's own configuration of bundles.
    pub folders: Vec<PathBuf>,
    /// The one file to look at.
    file: Option<PathBuf>,
    dag_id: Option<String>,
}

impl Target {
    /// `name` is a file or the id of a Dag; `dag_id` and `file` say more where that is not enough.
    pub fn find(
        context: &Context,
        name: &str,
        dag_id: Option<&str>,
        file: Option<&Path>,
        args: &FolderArgs,
    ) -> Result<Self> {
        let (file, dag_id) = match file {
            Some(file) => (Some(file), Some(name)),
            None if Path::new(name).is_file() => (Some(Path::new(name)), dag_id),
            None if name.ends_with(".py") || name.contains('/') => bail!("there is no file {name}"),
            None => (None, Some(name)),
        };
        let file = file
            .map(|file| file.canonicalize().with_context(|| format!("the file {} can't be read", file.display())))
            .transpose()?;
        let folders = match &file {
            None => folder::folders(args, &context.home, &context.config)?,
            Some(file) => {
                let known = folder::existing(args, &context.home, &context.config);
                let parent = file.parent().unwrap_or(Path::new("/")).to_owned();
                if known.iter().any(|folder| file.starts_with(folder)) { known } else { vec![parent] }
            }
        };
        Ok(Self { folders, file, dag_id: dag_id.map(str::to_owned) })
    }

    /// Files to look at, the likeliest first.
    fn files(&self, context: &Context, bundles: &[Bundle]) -> Result<Vec<(Bundle, PathBuf)>> {
        if let Some(file) = &self.file {
            let bundle = bundles.iter().find(|bundle| file.starts_with(&bundle.path)).or(bundles.first());
            let bundle = bundle.ok_or_else(|| anyhow!("Airflow's configuration names no bundle of Dags"))?;
            return Ok(vec![(bundle.clone(), file.clone())]);
        }
        let rules = folder::rules(&context.config)?;
        let mut files: Vec<(Bundle, PathBuf)> = Vec::new();
        for bundle in bundles {
            files.extend(dag_files(&bundle.path, rules).into_iter().map(|file| (bundle.clone(), file)));
        }
        let wanted = self.dag_id.clone().unwrap_or_default();
        // Where it was when it was imported last, it is most likely still.
        let record = context.reader()?.dag(&wanted.as_str().into())?;
        let last = record.map(|record| PathBuf::from(record.fileloc));
        files.sort_by_key(|(_, file)| {
            let has_id = || std::fs::read_to_string(file).is_ok_and(|text| text.contains(&wanted));
            if last.as_ref() == Some(file) {
                0
            } else if has_id() {
                1
            } else {
                2
            }
        });
        Ok(files)
    }
}

/// What the home's database has that tasks may ask for.
pub fn copy_settings(context: &Context, store: &MemoryStore) -> Result<()> {
    let kept = context.reader()?;
    let mut writes: Vec<Write> = kept.variables(None, Page::ALL)?.0.into_iter().map(Write::Variable).collect();
    let connections = kept.connections(None, Page::ALL)?.0;
    writes.extend(connections.into_iter().map(|connection| Write::Connection(Box::new(connection))));
    writes.extend(kept.pools(None, Page::ALL)?.0.into_iter().map(Write::Pool));
    Ok(store.commit(writes)?)
}

/// The bundles that can be had. What is to be fetched is fetched, unless one file is asked for.
async fn bundles(
    stack: &Stack,
    store: &Arc<MemoryStore>,
    target: &Target,
    configured: Vec<ConfiguredBundle>,
) -> Vec<Bundle> {
    let answers = stack::import_answers(Arc::clone(store) as Arc<dyn Store>);
    let fetcher = Bundles::new(stack.helper.clone(), answers);
    let mut found = Vec::new();
    for ConfiguredBundle { name, path, error, .. } in configured {
        match (path, error) {
            (_, Some(error)) => tracing::warn!("the bundle {name} can't be had: {error}"),
            (Some(path), None) => found.push(Bundle { name, path, version: None }),
            (None, None) if target.file.is_some() => {}
            (None, None) => match fetcher.refresh(&name).await {
                Ok(fetched) => found.push(Bundle { name, path: fetched.path, version: fetched.version }),
                Err(error) => tracing::warn!("the bundle {name} can't be had: {error}"),
            },
        }
    }
    found
}

/// What imports have shown so far.
#[derive(Default)]
struct Seen {
    ids: Vec<String>,
    errors: Vec<(String, String)>,
}

/// Imports files until the Dag is found, changes it, and puts it into the store. Its schedule makes no runs.
pub async fn load(
    context: &Context,
    stack: &Stack,
    store: &Arc<MemoryStore>,
    target: &Target,
    change: impl Fn(&mut ImportedDag) -> Result<()>,
) -> Result<Arc<Dag>> {
    let server = stack.helper.server().await?;
    let bundles = bundles(stack, store, target, server.ready().await?.bundles).await;
    let mut seen = Seen::default();
    for (bundle, file) in target.files(context, &bundles)? {
        if let Some(dag_id) = import_file(context, &server, store, target, (&bundle, &file), &mut seen, &change).await?
        {
            let pause = Change::Paused { dag_id: dag_id.as_str().into(), paused: false };
            store.commit(vec![Write::Decision(pause)])?;
            let record = store.dag(&dag_id.as_str().into())?;
            let record = record.ok_or_else(|| anyhow!("the Dag {dag_id} was not kept"))?;
            return crate::commands::structure(&**store, &record);
        }
    }
    Err(not_found(target, seen))
}

/// Imports one file, and gives the id of the Dag if it is there.
async fn import_file(
    context: &Context,
    server: &ForkServer,
    store: &Arc<MemoryStore>,
    target: &Target,
    (bundle, file): (&Bundle, &Path),
    seen: &mut Seen,
    change: &impl Fn(&mut ImportedDag) -> Result<()>,
) -> Result<Option<String>> {
    let request = ImportRequest {
        file: file.to_owned(),
        bundle_path: bundle.path.clone(),
        bundle_name: bundle.name.clone(),
        limits: folder::limits(&context.config)?,
    };
    let answers = stack::import_answers(Arc::clone(store) as Arc<dyn Store>);
    let mut found = importer::describe_file(
        import(server, &request, answers).await?,
        (&bundle.name, bundle.version.as_deref()),
        &bundle.path,
        file,
    );
    if let (Some(_), Some((name, error))) = (&target.file, found.errors.first()) {
        bail!("{name} can't be imported:\n{}", error.trim_end());
    }
    let ids: Vec<String> = found.dags.iter().map(|dag| dag.dag_id.to_string()).collect();
    let wanted = match &target.dag_id {
        Some(dag_id) => ids.contains(dag_id).then(|| dag_id.clone()),
        None if ids.len() == 1 => ids.first().cloned(),
        None if ids.is_empty() => bail!("{} has no Dag", file.display()),
        None => bail!("{} has several Dags: say which with --dag-id ({})", file.display(), ids.join(", ")),
    };
    seen.ids.extend(ids);
    seen.errors.append(&mut found.errors);
    let Some(wanted) = wanted else { return Ok(None) };
    for dag in &mut found.dags {
        // Only the run that is asked for.
        dag.facts["may_schedule"] = Json::Bool(false);
        // What is wrong with another Dag of its file is no matter here.
        dag.unproven = false;
        if dag.dag_id.as_str() == wanted {
            change(dag)?;
        }
    }
    store.commit(vec![Write::Imported(Box::new(found))])?;
    Ok(Some(wanted))
}

fn not_found(target: &Target, seen: Seen) -> anyhow::Error {
    let wanted = target.dag_id.clone().unwrap_or_default();
    let places: Vec<String> = match &target.file {
        Some(file) => vec![file.display().to_string()],
        None => target.folders.iter().map(|folder| folder.display().to_string()).collect(),
    };
    let place = if places.is_empty() { "the bundles".to_owned() } else { places.join(", ") };
    let hint = if seen.ids.is_empty() {
        ", which has no Dag at all".to_owned()
    } else {
        meant(&wanted, seen.ids.iter().map(String::as_str))
    };
    let broken = match seen.errors.first() {
        None => String::new(),
        Some((name, error)) => {
            let last = error.trim_end().lines().last().unwrap_or_default();
            format!("\n{} file(s) can't be imported; the first is {name}: {last}", seen.errors.len())
        }
    };
    anyhow!("there is no Dag {wanted:?} in {place}{hint}{broken}")
}
