//! What every back end must do. Each case runs on all of them; a new back end is one more line at the end.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed, which is what it should do")]

mod agreement;
mod asset_lists;
mod asset_states;
mod assets;
mod backfills;
mod batches;
mod callbacks;
mod dag_lists;
mod fixtures;
mod hitl;
mod imports;
mod keyed;
mod overview;
mod partitions;
mod run_lists;
mod sqlite_encryption;
mod sqlite_files;
mod sqlite_kill;
mod sqlite_migration;
mod suspensions;
mod task_lists;
mod xcom_lists;

/// Runs the list of cases on every back end. A back end is an expression for an empty store and what keeps it alive.
macro_rules! cases {
    ([$(($backend:ident, $open:expr)),+ $(,)?] $cases:tt) => { $(cases!(@backend $backend, $open, $cases);)+ };
    (@backend $backend:ident, $open:expr, [$($module:ident: $($case:ident),+;)+]) => {
        mod $backend {
            $(mod $module {
                $(#[test]
                fn $case() {
                    let (store, _alive) = $open;
                    crate::$module::$case(&store);
                })+
            })+
        }
    };
}

cases!(
    [
        (memory, (store::memory::MemoryStore::new(), ())),
        (sqlite, crate::fixtures::temporary_sqlite()),
    ]
    [
        batches:
            a_batch_is_written_whole_or_not_at_all,
            a_batch_that_fails_takes_nothing_of_others_with_it,
            many_threads_commit_at_once,
            what_is_missing_is_named,
            what_exists_already_is_a_conflict,
            a_decision_can_be_written_twice;
        keyed:
            a_run_is_read_back_as_it_was_written,
            a_task_instance_is_read_back_as_it_was_written,
            tries_are_archived_in_the_order_they_were_made,
            reschedules_are_those_of_the_current_try,
            rendered_fields_are_replaced,
            runs_before_a_date,
            a_run_is_known_by_its_id_and_by_its_date,
            notes_belong_to_people,
            notes_of_tasks_stay_over_their_tries,
            a_try_is_archived_once,
            pools_are_used_by_what_is_under_way,
            settings_are_replaced_and_deleted,
            xcoms_are_replaced_and_cleared,
            xcoms_of_prior_dates,
            task_states_outlive_tries,
            task_states_expire,
            a_task_instance_is_deleted_with_its_tries_and_what_it_left,
            a_run_is_deleted_with_all_that_belongs_to_it,
            a_dag_is_deleted_with_all_that_belongs_to_it;
        overview:
            states_are_counted_up_to_a_bound,
            dags_are_counted_by_what_they_do,
            runs_are_counted_by_their_dates,
            dependencies_are_those_of_the_newest_versions,
            notes_and_numbers_of_a_run,
            dags_that_wait_for_people;
        imports:
            a_version_is_made_only_on_change,
            a_newer_version_of_a_bundle_makes_no_version_of_its_dags,
            bundles_are_as_they_were_fetched_last,
            what_people_and_the_scheduler_decided_is_kept,
            dags_that_left_their_file_are_stale,
            a_file_that_fails_keeps_its_last_good_dags,
            a_dag_that_is_new_in_a_file_with_errors_is_stale_until_they_are_gone,
            a_file_that_is_gone_takes_its_dags_along,
            a_dag_moves_to_the_file_that_had_it_last,
            errors_are_replaced,
            warnings_last_until_the_next_import,
            the_last_run_is_the_one_made_last;
        suspensions:
            a_suspension_is_read_back_as_it_was_written,
            suspensions_are_replaced_and_end,
            the_last_trigger_is_the_highest_that_is_waited_for;
        callbacks: callbacks_are_owed_until_they_are_called, deadlines_are_kept_until_they_are_gone;
        hitl: questions_are_asked_and_answered, a_question_that_is_asked_again_forgets_the_answer_that_was_told,
            tries_keep_what_they_have_asked, filters_of_questions;
        backfills: a_backfill_is_read_back_as_it_was_written, runs_know_their_backfill;
        assets: assets_are_active_while_a_dag_has_them,
            assets_that_are_produced_outrank_others, events_wait_until_a_run_takes_them, assets_stop_waiting,
            runs_are_told_of_what_their_dag_names, assets_of_aliases_are_active, filters_of_asset_events;
        asset_lists: lists_of_assets, lists_of_aliases, lists_of_asset_events, lists_of_what_waits;
        asset_states: what_is_kept_with_assets_outlives_runs, assets_have_numbers;
        partitions: events_wait_for_runs_and_are_taken_once, events_wait_for_python,
            runs_are_found_by_their_partitions;
        run_lists: filters_of_runs, orders_of_runs, pages_of_runs, versions_of_runs;
        task_lists: filters_of_task_instances, orders_of_task_instances;
        dag_lists: filters_of_dags, orders_of_dags, lists_of_import_errors, lists_of_versions_and_tags;
        xcom_lists: parts_of_sequences, filters_of_xcoms, orders_of_xcoms, lists_of_settings;
    ]
);
