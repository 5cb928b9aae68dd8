//! What lists of Dags may be narrowed to.

use model::DagRunState;
use store::DagFilter;

use crate::args::Args;
use crate::error::ApiError;
use crate::parse;

pub(crate) const RUN_STATES: [(&str, DagRunState); 4] = [
    ("queued", DagRunState::Queued),
    ("running", DagRunState::Running),
    ("success", DagRunState::Success),
    ("failed", DagRunState::Failed),
];

/// States of runs as a list of texts, in which `none` stands for no state.
pub(crate) fn run_states(args: &mut Args, name: &str) -> Vec<Option<DagRunState>> {
    let texts = args.texts(name);
    let read = |text: &String| match text.as_str() {
        "none" => Some(None),
        text => text.parse().ok().map(Some),
    };
    match texts.iter().map(read).collect::<Option<Vec<_>>>() {
        Some(states) => states,
        None => {
            let valid = "Invalid value for state. Valid values are queued, running, success, failed";
            args.fail(ApiError::unprocessable(valid));
            Vec::new()
        }
    }
}

/// `None` where nothing can match.
pub(super) fn read(args: &mut Args) -> Option<DagFilter> {
    let filter = read_common(args);
    let last_run_start = args.span("dag_run_start_date");
    let last_run_end = args.span("dag_run_end_date");
    let last_run_states = run_states(args, "dag_run_state");
    let timetable_types = args.texts("timetable_type");
    filter.map(|filter| DagFilter { last_run_start, last_run_end, last_run_states, timetable_types, ..filter })
}

/// The filters that the UI's list has, too.
pub(crate) fn read_common(args: &mut Args) -> Option<DagFilter> {
    let mut filter = DagFilter { tags: args.texts("tags"), ..DagFilter::default() };
    filter.all_tags = match_mode(args);
    filter.owners = args.texts("owners");
    filter.dag_id_pattern = args.pattern("dag_id_pattern");
    filter.dag_id_prefix = args.prefix("dag_id_prefix_pattern");
    filter.display_name_pattern = args.pattern("dag_display_name_pattern");
    filter.display_name_prefix = args.prefix("dag_display_name_prefix_pattern");
    filter.exclude_stale = args.or("exclude_stale", true, parse::boolean);
    filter.paused = args.optional("paused", parse::boolean);
    filter.has_import_errors = args.optional("has_import_errors", parse::boolean);
    filter.last_run_state = args.optional("last_dag_run_state", parse::one_of(&RUN_STATES));
    filter.bundle_name = args.text("bundle_name").filter(|name| !name.is_empty());
    filter.bundle_version = args.text("bundle_version").filter(|version| !version.is_empty());
    // Dags are not found by their assets yet.
    let on_assets = args.optional("has_asset_schedule", parse::boolean);
    let asset = args.text("asset_dependency");
    let favorite = args.optional("is_favorite", parse::boolean);
    (on_assets != Some(true) && asset.is_none() && favorite != Some(true)).then_some(filter)
}

/// A Dag must be asked for by its id, if only with a wild card: without one nothing matches.
pub(super) fn read_for_patch(args: &mut Args) -> Option<DagFilter> {
    let mut filter = DagFilter { tags: args.texts("tags"), ..DagFilter::default() };
    filter.all_tags = match_mode(args);
    filter.owners = args.texts("owners");
    filter.dag_id_pattern = args.pattern("dag_id_pattern");
    filter.dag_id_prefix = args.prefix("dag_id_prefix_pattern");
    filter.exclude_stale = args.or("exclude_stale", true, parse::boolean);
    filter.paused = args.optional("paused", parse::boolean);
    // `_SearchParam` without a value looks for the word None when it may not be skipped.
    if filter.dag_id_pattern.is_none() {
        filter.dag_id_pattern = Some("None".to_owned());
    }
    Some(filter)
}

fn match_mode(args: &mut Args) -> bool {
    args.or("tags_match_mode", false, parse::literal(&[("any", false), ("all", true)]))
}
