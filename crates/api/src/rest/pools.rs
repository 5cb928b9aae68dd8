//! `/pools`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use engine::Input;
use scheduler::Event;
use serde::Serialize;
use serde_json::{Map, Value, json};
use store::{Pool, PoolOrder, PoolUsage, Store, StoreError, TextFilter, Write};

use super::bulk::{self, Bulk, BulkResponse};
use super::strict;
use crate::args::Args;
use crate::body::{Fields, JsonBody};
use crate::error::{ApiError, ApiResult};
use crate::order;
use crate::parse;
use crate::routes::{Access, Routes};
use crate::state::ApiState;
use crate::wire::NoContent;

const DEFAULT_POOL: &str = "default_pool";
const MAX_NAME: usize = 256;
/// As many slots as anybody asks for.
const UNBOUNDED: i64 = -1;

pub(crate) fn routes(routes: Routes) -> Routes {
    routes
        .get("/pools", Access::ReadPools, list)
        .post("/pools", Access::WritePools, create)
        .patch("/pools", Access::WritePools, change_many)
        .get("/pools/{*pool_name}", Access::ReadPools, get)
        .patch("/pools/{*pool_name}", Access::WritePools, change)
        .delete("/pools/{*pool_name}", Access::WritePools, delete)
}

#[derive(Serialize)]
struct PoolResponse {
    name: String,
    slots: i64,
    description: Option<String>,
    include_deferred: bool,
    occupied_slots: i64,
    running_slots: i64,
    queued_slots: i64,
    scheduled_slots: i64,
    open_slots: i64,
    deferred_slots: i64,
    team_name: Option<String>,
}

impl PoolResponse {
    fn new(pool: Pool, usage: &[(String, PoolUsage)]) -> Self {
        let Pool { name, slots, description, include_deferred } = pool;
        let usage = usage.iter().find(|(pool, _)| *pool == name).map(|(_, usage)| *usage).unwrap_or_default();
        let PoolUsage { running, queued, scheduled, deferred } = usage;
        let occupied = running + queued + if include_deferred { deferred } else { 0 };
        Self {
            name,
            slots,
            description,
            include_deferred,
            occupied_slots: occupied,
            running_slots: running,
            queued_slots: queued,
            scheduled_slots: scheduled,
            open_slots: if slots == UNBOUNDED { UNBOUNDED } else { slots - occupied },
            deferred_slots: deferred,
            team_name: None,
        }
    }
}

#[derive(Serialize)]
struct PoolList {
    pools: Vec<PoolResponse>,
    total_entries: u64,
}

fn not_found(name: &str) -> ApiError {
    ApiError::not_found(format!("The Pool with name: `{name}` was not found"))
}

async fn list(State(state): State<ApiState>, mut args: Args) -> ApiResult<PoolList> {
    let page = args.page(&state);
    args.finish()?;
    let names =
        TextFilter { pattern: args.pattern("pool_name_pattern"), prefix: args.prefix("pool_name_prefix_pattern") };
    let allowed: &[(&str, &[PoolOrder])] = &[("id", &[PoolOrder::Created]), ("pool", &[PoolOrder::Name])];
    let order = order::resolve(&args.texts("order_by"), "id", allowed, &[("name", "pool")], PoolOrder::Created)?;
    let listed = state.read(move |store| {
        let (pools, total_entries) = store.list_pools(&names, &order, page)?;
        let usage = store.pool_usage()?;
        Ok(PoolList { pools: pools.into_iter().map(|pool| PoolResponse::new(pool, &usage)).collect(), total_entries })
    });
    listed.await.map(Json)
}

async fn get(State(state): State<ApiState>, args: Args) -> ApiResult<PoolResponse> {
    let name = args.path("pool_name");
    let found = state.read(move |store| {
        let pool = store.pool(&name)?.ok_or_else(|| not_found(&name))?;
        Ok(PoolResponse::new(pool, &store.pool_usage()?))
    });
    found.await.map(Json)
}

/// Changes pools and tells the engine of those that were changed, one request after the other: the engine must not
/// end with the change that was made first.
async fn changing<T: Send + 'static>(
    state: &ApiState,
    work: impl FnOnce(&dyn Store) -> Result<(T, Vec<String>), ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let _one_at_a_time = state.pool_changes().lock().await;
    let changed = state.read(move |store| {
        let (answer, names) = work(store)?;
        let mut events = Vec::with_capacity(names.len());
        for name in names {
            events.push(match store.pool(&name)? {
                Some(pool) => engine::pool_event(&pool),
                None => Event::PoolGone { name: name.into() },
            });
        }
        Ok((answer, events))
    });
    let (answer, events) = changed.await?;
    for event in events {
        if state.engine().tell(Input::Event(event)).await.is_err() {
            // The change is durable: the engine reads the pools when it starts.
            tracing::debug!("the engine has stopped before it was told of a pool");
        }
    }
    Ok(answer)
}

async fn create(
    State(state): State<ApiState>,
    mut args: Args,
    body: JsonBody,
) -> Result<(StatusCode, Json<PoolResponse>), ApiError> {
    let body = strict::of_body_with_team(&body, &mut args, Pools::read);
    let pool = Pools.created(&strict::checked(&mut args, body)?);
    let created = changing(&state, move |store| {
        store.commit(vec![Write::NewPool(pool.clone())])?;
        let name = pool.name.clone();
        Ok((PoolResponse::new(pool, &store.pool_usage()?), vec![name]))
    });
    Ok((StatusCode::CREATED, Json(created.await?)))
}

async fn change(State(state): State<ApiState>, mut args: Args, body: JsonBody) -> ApiResult<PoolResponse> {
    let body = strict::of_body_with_team(&body, &mut args, PoolPatch::read);
    let body = strict::checked(&mut args, body)?;
    let (name, mask) = (args.path("pool_name"), args.texts("update_mask"));
    if body.name.as_ref().is_some_and(|given| !given.is_empty() && *given != name) {
        return Err(ApiError::bad_request("Invalid body, pool name from request body doesn't match uri parameter"));
    }
    let changed = changing(&state, move |store| {
        let old = store.pool(&name)?.ok_or_else(|| not_found(&name))?;
        let pool = body.applied(old, &mask)?;
        store.commit(vec![Write::Pool(pool.clone())])?;
        Ok((PoolResponse::new(pool, &store.pool_usage()?), vec![name]))
    });
    changed.await.map(Json)
}

fn refuse_default(name: &str) -> Result<(), ApiError> {
    if name == DEFAULT_POOL { Err(ApiError::bad_request("Default Pool can't be deleted")) } else { Ok(()) }
}

async fn delete(State(state): State<ApiState>, args: Args) -> Result<NoContent, ApiError> {
    let name = args.path("pool_name");
    refuse_default(&name)?;
    let deleted = changing(&state, move |store| match store.commit(vec![Write::DeletePool(name.clone())]) {
        Ok(()) => Ok((NoContent, vec![name])),
        Err(StoreError::Missing { .. }) => Err(not_found(&name)),
        Err(error) => Err(error.into()),
    });
    deleted.await
}

async fn change_many(State(state): State<ApiState>, args: Args, body: JsonBody) -> ApiResult<BulkResponse> {
    let actions = bulk::read::<Pools>(&body, args)?;
    changing(&state, move |store| bulk::run(&Pools, store, actions)).await.map(Json)
}

/// The fields of a request that were given, as they were given, and what they mean.
#[derive(Clone, Debug)]
pub(crate) struct PoolPatch {
    name: Option<String>,
    slots: Option<i64>,
    description: Option<String>,
    include_deferred: Option<bool>,
    given: Map<String, Value>,
}

impl PoolPatch {
    fn read(fields: &mut Fields<'_>) -> Self {
        let name = strict::alias(fields, "pool", "name");
        let given = |fields: &Fields<'_>, own: &str| fields.has(own);
        let mut patch = Self {
            name: fields.optional(name, parse::text),
            slots: fields.optional("slots", parse::at_least(UNBOUNDED)),
            description: fields.optional("description", parse::text),
            include_deferred: fields.optional("include_deferred", parse::boolean),
            given: Map::new(),
        };
        let values = [
            (name, "pool", json!(patch.name)),
            ("slots", "slots", json!(patch.slots)),
            ("description", "description", json!(patch.description)),
            ("include_deferred", "include_deferred", json!(patch.include_deferred)),
        ];
        for (field, called, value) in values {
            if given(fields, field) {
                patch.given.insert(called.to_owned(), value);
            }
        }
        patch
    }

    /// The pool with what the body gives, as far as a mask allows it.
    fn applied(&self, mut pool: Pool, mask: &[String]) -> Result<Pool, ApiError> {
        if pool.name == DEFAULT_POOL {
            let allowed = |name: &String| matches!(name.trim(), "slots" | "include_deferred");
            if mask.is_empty() || !mask.iter().all(allowed) {
                return Err(ApiError::bad_request("Only slots and included_deferred can be modified on Default Pool"));
            }
            self.refuse_nulls()?;
        } else {
            self.require_whole()?;
        }
        let changes =
            |field: &str| self.given.contains_key(field) && (mask.is_empty() || mask.iter().any(|name| name == field));
        if let Some(slots) = self.slots.filter(|_| changes("slots")) {
            pool.slots = slots;
        }
        if changes("description") {
            pool.description.clone_from(&self.description);
        }
        if let Some(include_deferred) = self.include_deferred.filter(|_| changes("include_deferred")) {
            pool.include_deferred = include_deferred;
        }
        Ok(pool)
    }

    /// Whatever the mask says, Airflow wants all of a pool but its description.
    fn require_whole(&self) -> Result<(), ApiError> {
        let input = Value::Object(self.given.clone());
        let wrong = ["pool", "slots", "include_deferred"].into_iter().filter_map(|field| match self.given.get(field) {
            None => Some((field, parse::Fault::new("missing", "Field required"), &input)),
            Some(value) if value.is_null() => Some((field, null_of(field), value)),
            Some(_) => None,
        });
        refuse(wrong)
    }

    fn refuse_nulls(&self) -> Result<(), ApiError> {
        let nulls = ["slots", "include_deferred"].into_iter().filter_map(|field| {
            let value = self.given.get(field).filter(|value| value.is_null())?;
            Some((field, null_of(field), value))
        });
        refuse(nulls)
    }
}

/// The answer to what Airflow finds when it has read the body already: without `body`, and with a link.
fn refuse<'a>(wrong: impl Iterator<Item = (&'a str, parse::Fault, &'a Value)>) -> Result<(), ApiError> {
    let told = |(field, fault, input): (&str, parse::Fault, &Value)| {
        let url = format!("https://errors.pydantic.dev/2.14/v/{}", fault.kind);
        json!({"type": fault.kind, "loc": [field], "msg": fault.message, "input": input, "url": url})
    };
    let issues: Vec<Value> = wrong.map(told).collect();
    if issues.is_empty() { Ok(()) } else { Err(ApiError::unprocessable(Value::Array(issues))) }
}

fn null_of(field: &str) -> parse::Fault {
    let refused = match field {
        "slots" => parse::integer(&Value::Null).err(),
        "include_deferred" => parse::boolean(&Value::Null).err(),
        _ => parse::text(&Value::Null).err(),
    };
    refused.unwrap_or_else(|| parse::Fault::new("missing", "Field required"))
}

struct Pools;

impl Bulk for Pools {
    type Body = PoolPatch;
    type Record = Pool;

    const THOSE: &'static str = "The pools with these pool names";
    const MODEL: &'static str = "PoolBody";

    fn read(fields: &mut Fields<'_>) -> PoolPatch {
        let name = strict::alias(fields, "name", "pool");
        let mut patch = PoolPatch {
            name: Some(fields.required(name, parse::text_up_to(MAX_NAME))),
            slots: Some(fields.required("slots", parse::at_least(UNBOUNDED))),
            description: fields.optional("description", parse::text),
            include_deferred: Some(fields.or("include_deferred", false, parse::boolean)),
            given: Map::new(),
        };
        patch.given.insert("slots".into(), json!(patch.slots));
        for (field, value) in
            [("description", json!(patch.description)), ("include_deferred", json!(patch.include_deferred))]
        {
            if fields.has(field) {
                patch.given.insert(field.into(), value);
            }
        }
        patch.given.insert("pool".into(), json!(patch.name));
        patch
    }

    fn id(body: &PoolPatch) -> &str {
        body.name.as_deref().unwrap_or_default()
    }

    fn find(store: &dyn Store, id: &str) -> Result<Option<Pool>, StoreError> {
        store.pool(id)
    }

    fn created(&self, body: &PoolPatch) -> Pool {
        Pool {
            name: body.name.clone().unwrap_or_default(),
            slots: body.slots.unwrap_or_default(),
            description: body.description.clone(),
            include_deferred: body.include_deferred.unwrap_or_default(),
        }
    }

    fn overwritten(&self, body: &PoolPatch, mut old: Pool) -> Pool {
        old.slots = body.slots.unwrap_or(old.slots);
        if body.given.contains_key("description") {
            old.description.clone_from(&body.description);
        }
        if body.given.contains_key("include_deferred") {
            old.include_deferred = body.include_deferred.unwrap_or(old.include_deferred);
        }
        old
    }

    fn updated(&self, body: &PoolPatch, old: Pool, mask: &[String]) -> Result<Pool, ApiError> {
        body.applied(old, mask)
    }

    fn may_delete(id: &str) -> Result<(), ApiError> {
        refuse_default(id)
    }

    fn write_new(record: Pool) -> Write {
        Write::NewPool(record)
    }

    fn write(record: Pool) -> Write {
        Write::Pool(record)
    }

    fn write_deleted(id: &str) -> Write {
        Write::DeletePool(id.to_owned())
    }
}
