//! Lists of assets and of what happened to them.

use model::{AssetEventId, DagId, RunKey, TaskId};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::SqliteStore;
use super::assets::{ASSET, EVENT, EVENTS, read_asset, read_event, read_queued};
use super::column::Columns;
use super::dags::all;
use super::read::{Conditions, Key, order_by, page};
use crate::query::{AliasFilter, AliasOrder, AssetFilter, AssetOrder, Direction, EventListFilter, EventOrder, Page};
use crate::records::{AssetAlias, AssetUse, ListedAsset, ListedEvent, ListedQueued, ListedUse, NumberedAlias};
use crate::{AssetListStore, Result};

const LAST_EVENT: &str =
    "SELECT e.id FROM asset_event AS e WHERE e.asset_id = a.id ORDER BY e.at DESC, e.id DESC LIMIT 1";

/// What is read of an asset before its uses and aliases.
fn read_listed(row: &Row<'_>) -> rusqlite::Result<ListedAsset> {
    let mut columns = Columns::new(row);
    let asset = read_asset(&mut columns)?;
    let (number, created_at, updated_at) = (columns.get()?, columns.moment()?, columns.moment()?);
    let (last, at): (Option<i64>, _) = (columns.get()?, columns.opt_moment()?);
    let last_event = last.map(AssetEventId).zip(at);
    Ok(ListedAsset { number, asset, created_at, updated_at, uses: Vec::new(), aliases: Vec::new(), last_event })
}

fn read_use(row: &Row<'_>) -> rusqlite::Result<ListedUse> {
    let mut columns = Columns::new(row);
    let (role, dag_id): (i64, String) = (columns.get()?, columns.get()?);
    let task_id = TaskId::from(columns.get::<String>()?);
    let by = match role {
        0 => AssetUse::Schedule,
        1 => AssetUse::Inlet(task_id),
        _ => AssetUse::Outlet(task_id),
    };
    Ok(ListedUse { dag_id: DagId::from(dag_id), by, created_at: columns.moment()?, updated_at: columns.moment()? })
}

fn read_alias(row: &Row<'_>) -> rusqlite::Result<NumberedAlias> {
    Ok(NumberedAlias { number: row.get(0)?, alias: AssetAlias { name: row.get(1)?, group: row.get(2)? } })
}

/// Who names an asset, and by which aliases it was updated.
fn complete(connection: &Connection, listed: &mut ListedAsset) -> rusqlite::Result<()> {
    let uses = "SELECT u.role, u.dag_id, u.task_id, u.created_at, u.updated_at FROM asset_reference AS u
             JOIN dag AS d ON d.dag_id = u.dag_id
         WHERE u.asset_id = ?1 AND NOT d.stale ORDER BY u.role, u.dag_id, u.task_id";
    listed.uses =
        connection.prepare_cached(uses)?.query_map([listed.number], read_use)?.collect::<rusqlite::Result<_>>()?;
    let aliases = "SELECT s.id, s.name, s.grp FROM asset_alias_asset AS l JOIN asset_alias AS s ON s.name = l.alias
         WHERE l.asset_id = ?1 ORDER BY s.id";
    listed.aliases =
        connection.prepare_cached(aliases)?.query_map([listed.number], read_alias)?.collect::<rusqlite::Result<_>>()?;
    Ok(())
}

fn asset_order(order: AssetOrder) -> Key {
    Key::Full(match order {
        AssetOrder::Number => "a.id",
        AssetOrder::Name => "a.name",
        AssetOrder::Uri => "a.uri",
        AssetOrder::CreatedAt => "a.created_at",
        AssetOrder::UpdatedAt => "a.updated_at",
    })
}

fn event_order(order: EventOrder) -> Key {
    match order {
        EventOrder::Id => Key::Full("e.id"),
        EventOrder::At => Key::Full("e.at"),
        EventOrder::SourceDagId => Key::Gaps("e.source_dag_id"),
        EventOrder::SourceRunId => Key::Gaps("e.source_run_id"),
        EventOrder::SourceTaskId => Key::Gaps("e.source_task_id"),
        EventOrder::SourceMapIndex => Key::Full(MAP_INDEX),
    }
}

/// What no task has made has that of a task that is not mapped, as in Airflow.
const MAP_INDEX: &str = "coalesce(e.source_map_index, -1)";

impl AssetListStore for SqliteStore {
    fn list_assets(
        &self,
        filter: &AssetFilter,
        order: &[(AssetOrder, Direction)],
        cut: Page,
    ) -> Result<(Vec<ListedAsset>, u64)> {
        let mut conditions = Conditions::default();
        conditions
            .equal("a.id", filter.number)
            .equal("a.name", filter.name.clone())
            .equal("a.uri", filter.uri.clone())
            .text("a.name", &filter.names)
            .text("a.uri", &filter.uris);
        if filter.active_only {
            conditions.fixed("a.active");
        }
        if let Some(dag_ids) = &filter.dag_ids {
            let mut uses = Conditions::default();
            uses.fixed("u.asset_id = a.id").fixed("NOT d.stale");
            match dag_ids.is_empty() {
                true => uses.fixed("0"),
                false => uses.one_of("u.dag_id", dag_ids.iter().map(|dag_id| dag_id.to_string())),
            };
            conditions.exists("asset_reference AS u JOIN dag AS d ON d.dag_id = u.dag_id", uses);
        }
        let order = order_by(order, asset_order, &["a.id"]);
        let columns = format!(
            "{ASSET}, a.id, a.created_at, a.updated_at, ({LAST_EVENT}), (SELECT at FROM asset_event WHERE id = ({LAST_EVENT}))"
        );
        let source = all("asset AS a", &columns, &conditions, &order);
        self.snapshot(|connection| {
            let (mut found, total) = page(connection, &source, cut, read_listed)?;
            found.iter_mut().try_for_each(|listed| complete(connection, listed))?;
            Ok((found, total))
        })
    }

    fn list_aliases(
        &self,
        filter: &AliasFilter,
        order: &[(AliasOrder, Direction)],
        cut: Page,
    ) -> Result<(Vec<NumberedAlias>, u64)> {
        let mut conditions = Conditions::default();
        conditions.equal("id", filter.number).equal("name", filter.name.clone()).text("name", &filter.names);
        let key = |order| match order {
            AliasOrder::Number => Key::Full("id"),
            AliasOrder::Name => Key::Full("name"),
        };
        let order = order_by(order, key, &["id"]);
        let source = all("asset_alias", "id, name, grp", &conditions, &order);
        self.snapshot(|connection| page(connection, &source, cut, read_alias))
    }

    fn list_asset_events(
        &self,
        filter: &EventListFilter,
        order: &[(EventOrder, Direction)],
        cut: Page,
    ) -> Result<(Vec<ListedEvent>, u64)> {
        let mut conditions = Conditions::default();
        conditions
            .equal("e.asset_id", filter.asset_number)
            .equal("e.source_dag_id", filter.source_dag_id.as_ref().map(ToString::to_string))
            .equal("e.source_run_id", filter.source_run_id.as_ref().map(ToString::to_string))
            .equal("e.source_task_id", filter.source_task_id.as_ref().map(ToString::to_string))
            .equal(MAP_INDEX, filter.source_map_index)
            .text("a.name", &filter.names)
            .span("e.at", filter.at);
        if let Some(run) = &filter.consumed_by {
            let mut consumed = Conditions::default();
            consumed
                .fixed("c.event_id = e.id")
                .equal("r.dag_id", Some(run.dag_id.to_string()))
                .equal("r.run_id", Some(run.run_id.to_string()));
            conditions.exists("dag_run AS r JOIN asset_consumed AS c ON c.run_rid = r.rid", consumed);
        }
        let order = order_by(order, event_order, &["e.id"]);
        let columns = format!("{EVENT}, e.asset_id AS asset_number");
        let source = all(EVENTS, &columns, &conditions, &order);
        self.snapshot(|connection| {
            page(connection, &source, cut, |row| {
                let asset_number = row.get("asset_number")?;
                Ok(ListedEvent { asset_number, event: read_event(&mut Columns::new(row))? })
            })
        })
    }

    fn last_consumed(&self, run: &RunKey) -> Result<Option<AssetEventId>> {
        let sql = "SELECT max(event_id) FROM asset_consumed
             WHERE run_rid = (SELECT rid FROM dag_run WHERE dag_id = ?1 AND run_id = ?2)";
        self.read(|connection| {
            let params = params![run.dag_id.as_str(), run.run_id.as_str()];
            let last =
                connection.prepare_cached(sql)?.query_row(params, |row| row.get::<_, Option<i64>>(0)).optional()?;
            Ok(last.flatten().map(AssetEventId))
        })
    }

    fn list_queued(&self, dag_id: Option<&DagId>, asset_number: Option<i64>) -> Result<Vec<ListedQueued>> {
        let (condition, mut values): (&str, Vec<rusqlite::types::Value>) = match (dag_id, asset_number) {
            (Some(_), Some(_)) => ("WHERE q.dag_id = ?1 AND q.asset_id = ?2", Vec::new()),
            (Some(_), None) => ("WHERE q.dag_id = ?1", Vec::new()),
            (None, Some(_)) => ("WHERE q.asset_id = ?1", Vec::new()),
            (None, None) => ("", Vec::new()),
        };
        values.extend(dag_id.map(|dag_id| dag_id.to_string().into()));
        values.extend(asset_number.map(Into::into));
        let sql = format!(
            "SELECT a.name, a.uri, q.named, q.aliases, q.first_at, q.last_event, q.last_at, q.dag_id AS dag_id,
                 q.asset_id AS asset_id
             FROM asset_queue AS q JOIN asset AS a ON a.id = q.asset_id {condition} ORDER BY q.asset_id, q.dag_id"
        );
        self.read(|connection| {
            let read = |row: &Row<'_>| {
                let dag_id = DagId::from(row.get::<_, String>("dag_id")?);
                let queued = read_queued(&mut Columns::new(row))?;
                Ok(ListedQueued { dag_id, asset_number: row.get("asset_id")?, queued })
            };
            connection.prepare_cached(&sql)?.query_map(rusqlite::params_from_iter(values), read)?.collect()
        })
    }
}
