//! What came of an import, as the store takes it.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use engine::facts_to_json;
use engine::triggering::check_params;
use jiff::{SignedDuration, Timestamp};
use model::{AssetCondition, AssetKey, AssetLike, Dag, Json, RunType, Task, VersionId};
use python::import::Imported;
use python::serialized::{self, Listing};
use store::{AssetAlias, AssetUse, DagAsset, ImportedDag, ImportedFile};

/// What an import is recorded with.
pub(crate) struct Circumstances<'a> {
    pub(crate) bundle_name: &'a str,
    /// The version of the bundle that was imported, where it has any.
    pub(crate) bundle_version: Option<&'a str>,
    pub(crate) relative_fileloc: &'a str,
    pub(crate) at: Timestamp,
    pub(crate) duration: SignedDuration,
    /// `[core] dags_are_paused_at_creation`.
    pub(crate) paused_at_creation: bool,
    /// Where a Dag id is defined already, if that is another file.
    pub(crate) owner_of: &'a dyn Fn(&str) -> Option<String>,
}

/// A file with its Dags, and the ids of those that another file has. Its fingerprint is not filled in.
pub(crate) struct Described {
    pub(crate) file: ImportedFile,
    pub(crate) refused: Vec<String>,
}

/// The file with its Dags. A Dag that can't be read, or that another file has, becomes an error of the file.
pub(crate) fn describe(imported: Imported, around: &Circumstances<'_>) -> Described {
    let Imported { dags, extras, mut errors, asked, .. } = imported;
    let (mut described, mut refused) = (Vec::new(), Vec::new());
    // Airflow's own errors make every other Dag of their file stale (`dag_processing.collection._update_import_errors`).
    let broken: HashSet<String> = errors.iter().map(|(file, _)| file.clone()).collect();
    for serialized in dags {
        let dag_id = serialized["dag"]["dag_id"].as_str().unwrap_or_default().to_owned();
        if let Some(owner) = (around.owner_of)(&dag_id) {
            let reason = format!(
                "Dag {dag_id} is defined in {owner} already. A Dag id can stand in one file only: give one of them another id."
            );
            errors.push((around.relative_fileloc.to_owned(), reason));
            refused.push(dag_id);
            continue;
        }
        let extras = extras_of(extras.get(&dag_id), asked);
        match serialized::read(&serialized, &extras) {
            Ok((dag, listing)) => {
                let unproven = broken.contains(&listing.relative_fileloc);
                let dag = describe_dag(&dag, listing, serialized, extras, around);
                described.push(ImportedDag { unproven, ..dag });
            }
            Err(error) => errors.push((around.relative_fileloc.to_owned(), error.to_string())),
        }
    }
    let file = ImportedFile {
        bundle_name: around.bundle_name.to_owned(),
        relative_fileloc: around.relative_fileloc.to_owned(),
        fingerprint: Json::Null,
        at: around.at,
        duration: around.duration,
        dags: described,
        errors,
    };
    Described { file, refused }
}

/// A single file that nobody follows, as `updraft dags test` takes it.
pub fn describe_file(
    imported: Imported,
    (bundle_name, bundle_version): (&str, Option<&str>),
    bundle: &Path,
    file: &Path,
) -> ImportedFile {
    describe(
        imported,
        &Circumstances {
            bundle_name,
            bundle_version,
            relative_fileloc: &relative(bundle, file),
            at: model::operations::to_microseconds(Timestamp::now()),
            duration: SignedDuration::ZERO,
            paused_at_creation: false,
            owner_of: &|_| None,
        },
    )
    .file
}

/// What the import found beyond the serialized form. A file that asks for variables while it is imported may come to
/// other commands each time: its operators need Python, which imports it again for each task.
fn extras_of(found: Option<&Json>, asked: bool) -> Json {
    let mut extras = found.cloned().unwrap_or_else(|| serde_json::json!({}));
    if asked {
        extras["python"] = "its Dag file reads variables or connections while it is imported".into();
    }
    extras
}

fn describe_dag(
    dag: &Dag,
    listing: Listing,
    serialized: Json,
    extras: Json,
    around: &Circumstances<'_>,
) -> ImportedDag {
    let is_complete = check_params(&dag.params, &Json::Null).is_ok();
    let may_have = |run_type: RunType| {
        let allowed = dag.allowed_run_types.as_ref();
        is_complete && allowed.is_none_or(|types| types.iter().any(|name| name == run_type.name()))
    };
    let timetable_type = listing.timetable.get("__type").and_then(Json::as_str).unwrap_or_default().to_owned();
    ImportedDag {
        dag_id: dag.dag_id.clone(),
        display_name: listing.display_name,
        description: listing.description,
        paused_upon_creation: dag.is_paused_upon_creation.unwrap_or(around.paused_at_creation),
        bundle_version: around.bundle_version.map(str::to_owned),
        relative_fileloc: listing.relative_fileloc,
        fileloc: listing.fileloc,
        owners: listing.owners,
        tags: listing.tags,
        timetable_type,
        timetable_summary: Some(dag.timetable.summary()),
        timetable_description: Some(dag.timetable.description()),
        max_active_tasks: dag.limits.max_active_tasks,
        max_active_runs: dag.limits.max_active_runs,
        max_consecutive_failed_dag_runs: dag.limits.max_consecutive_failed_dag_runs,
        has_task_concurrency_limits: listing.has_task_concurrency_limits,
        allowed_run_types: dag.allowed_run_types.clone(),
        facts: facts_to_json(
            dag,
            &listing.timetable,
            extras.get("timetable"),
            may_have(RunType::Scheduled),
            may_have(RunType::AssetTriggered),
        ),
        assets: assets_of(dag),
        aliases: aliases_of(dag),
        unproven: false,
        version: VersionId(uuid::Uuid::now_v7()),
        hash: hash_of(&serialized, &extras),
        serialized,
        extras,
    }
}

/// Everything about assets that a Dag names, and what it is to the Dag.
fn parts_of(dag: &Dag) -> impl Iterator<Item = (&AssetLike, AssetUse)> {
    let waited_for = dag.timetable.listens_to().map(AssetCondition::parts).unwrap_or_default();
    let of_task = |task: &'_ Task| task.task_id.clone();
    let inlets = dag
        .tasks()
        .iter()
        .flat_map(move |task| task.inlets.iter().map(move |part| (part, AssetUse::Inlet(of_task(task)))));
    let outlets = dag
        .tasks()
        .iter()
        .flat_map(move |task| task.outlets.iter().map(move |part| (part, AssetUse::Outlet(of_task(task)))));
    waited_for.into_iter().map(|part| (part, AssetUse::Schedule)).chain(inlets).chain(outlets)
}

/// The assets that a Dag waits for, and those of its tasks. Of several that are the same, the last one says the most, as in
/// Airflow.
fn assets_of(dag: &Dag) -> Vec<DagAsset> {
    let mut assets: Vec<DagAsset> = Vec::new();
    let mut places: HashMap<&AssetKey, usize> = HashMap::new();
    for (part, by) in parts_of(dag) {
        let AssetLike::Asset(asset) = part else { continue };
        let place = *places.entry(&asset.key).or_insert(assets.len());
        match assets.get_mut(place) {
            Some(known) => {
                known.asset = asset.clone();
                if !known.uses.contains(&by) {
                    known.uses.push(by);
                }
            }
            None => assets.push(DagAsset { asset: asset.clone(), uses: vec![by] }),
        }
    }
    assets
}

/// The same of aliases.
fn aliases_of(dag: &Dag) -> Vec<AssetAlias> {
    let mut aliases: Vec<AssetAlias> = Vec::new();
    for (part, _) in parts_of(dag) {
        let AssetLike::Alias { name, group } = part else { continue };
        match aliases.iter_mut().find(|known| known.name == *name) {
            Some(known) => known.group.clone_from(group),
            None => aliases.push(AssetAlias { name: name.clone(), group: group.clone() }),
        }
    }
    aliases
}

/// Of everything that makes a version: the structure, and what the import found beyond it. Where a file lies, and
/// where Python looked for Dags, says nothing about a Dag.
fn hash_of(serialized: &Json, extras: &Json) -> String {
    let mut structure = serialized.clone();
    if let Some(dag) = structure.get_mut("dag").and_then(Json::as_object_mut) {
        for place in ["fileloc", "_processor_dags_folder"] {
            dag.remove(place);
        }
    }
    let mut hasher = blake3::Hasher::new();
    hash_value(&mut hasher, &structure);
    // What a class from a plugin is like is no part of the structure: an edit of the plugin changes no Dag.
    let mut extras = extras.clone();
    if let Some(extras) = extras.as_object_mut() {
        extras.remove("timetable");
    }
    hash_value(&mut hasher, &extras);
    hasher.finalize().to_hex().to_string()
}

/// Objects count by their keys, in whatever order they come.
fn hash_value(hasher: &mut blake3::Hasher, value: &Json) {
    match value {
        Json::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|(key, _)| *key);
            hasher.update(b"{");
            for (key, value) in fields {
                hasher.update(Json::from(key.as_str()).to_string().as_bytes());
                hash_value(hasher, value);
            }
            hasher.update(b"}");
        }
        Json::Array(items) => {
            hasher.update(b"[");
            for item in items {
                hash_value(hasher, item);
                hasher.update(b",");
            }
            hasher.update(b"]");
        }
        plain => {
            hasher.update(plain.to_string().as_bytes());
        }
    }
}

/// The name of a file below its bundle.
pub(crate) fn relative(bundle: &Path, file: &Path) -> String {
    file.strip_prefix(bundle).unwrap_or(file).to_string_lossy().into_owned()
}
