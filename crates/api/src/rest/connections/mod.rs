//! `/connections`.

mod body;
mod defaults;
mod masking;
mod test;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use store::{Connection, ConnectionOrder, Store, StoreError, TextFilter, Write};

use worker::MaskRules;

use super::bulk::{self, Bulk, BulkResponse};
use super::strict;
use crate::args::Args;
use crate::body::{Fields, JsonBody};
use crate::error::{ApiError, ApiResult};
use crate::order;
use crate::routes::{Access, Routes};
use crate::state::ApiState;
use crate::wire::NoContent;
use body::ConnectionBody;

pub(crate) fn routes(routes: Routes) -> Routes {
    let routes = test::routes(routes);
    routes
        .get("/connections", Access::Connections, list)
        .post("/connections", Access::Connections, create)
        .patch("/connections", Access::Connections, change_many)
        .post("/connections/defaults", Access::Connections, create_defaults)
        .get("/connections/{connection_id}", Access::Connections, get)
        .patch("/connections/{connection_id}", Access::Connections, change)
        .delete("/connections/{connection_id}", Access::Connections, delete)
}

#[derive(Serialize)]
struct ConnectionResponse {
    connection_id: String,
    conn_type: String,
    description: Option<String>,
    host: Option<String>,
    login: Option<String>,
    schema: Option<String>,
    port: Option<i64>,
    password: Option<&'static str>,
    extra: Option<String>,
    team_name: Option<String>,
}

impl ConnectionResponse {
    fn new(connection: Connection, state: &ApiState) -> Self {
        let extra = masking::shown_extra(&connection, &state.config().mask_rules);
        Self {
            connection_id: connection.connection_id,
            conn_type: connection.conn_type,
            description: connection.description,
            host: connection.host,
            login: connection.login,
            schema: connection.schema,
            port: connection.port,
            password: connection.password.map(|_| model::secrets::MASK),
            extra,
            team_name: None,
        }
    }
}

#[derive(Serialize)]
struct ConnectionList {
    connections: Vec<ConnectionResponse>,
    total_entries: u64,
}

fn not_found(id: &str) -> ApiError {
    ApiError::not_found(format!("The Connection with connection_id: `{id}` was not found"))
}

async fn list(State(state): State<ApiState>, mut args: Args) -> ApiResult<ConnectionList> {
    let page = args.page(&state);
    args.finish()?;
    let ids = TextFilter {
        pattern: args.pattern("connection_id_pattern"),
        prefix: args.prefix("connection_id_prefix_pattern"),
    };
    let allowed: &[(&str, &[ConnectionOrder])] = &[
        ("conn_id", &[ConnectionOrder::ConnectionId]),
        ("conn_type", &[ConnectionOrder::ConnType]),
        ("description", &[ConnectionOrder::Description]),
        ("host", &[ConnectionOrder::Host]),
        ("port", &[ConnectionOrder::Port]),
        ("id", &[ConnectionOrder::Created]),
        // No connection has a team.
        ("team_name", &[]),
    ];
    let renamed = [("connection_id", "conn_id")];
    let order = order::resolve(&args.texts("order_by"), "id", allowed, &renamed, ConnectionOrder::Created)?;
    let listed = state.read(move |store| Ok(store.list_connections(&ids, &order, page)?));
    let (connections, total_entries) = listed.await?;
    let connections = connections.into_iter().map(|connection| ConnectionResponse::new(connection, &state)).collect();
    Ok(Json(ConnectionList { connections, total_entries }))
}

async fn get(State(state): State<ApiState>, args: Args) -> ApiResult<ConnectionResponse> {
    let id = args.path("connection_id");
    let found = state.read(move |store| store.connection(&id)?.ok_or_else(|| not_found(&id)));
    found.await.map(|connection| Json(ConnectionResponse::new(connection, &state)))
}

async fn create(
    State(state): State<ApiState>,
    mut args: Args,
    body: JsonBody,
) -> Result<(StatusCode, Json<ConnectionResponse>), ApiError> {
    let body = strict::of_body_with_team(&body, &mut args, ConnectionBody::read);
    let connection = strict::checked(&mut args, body)?.created(&state.config().mask_rules);
    let created = state.read(move |store| {
        store.commit(vec![Write::NewConnection(Box::new(connection.clone()))])?;
        Ok(connection)
    });
    Ok((StatusCode::CREATED, Json(ConnectionResponse::new(created.await?, &state))))
}

async fn change(State(state): State<ApiState>, mut args: Args, body: JsonBody) -> ApiResult<ConnectionResponse> {
    let body = strict::of_body_with_team(&body, &mut args, ConnectionBody::read);
    let body = strict::checked(&mut args, body)?;
    let (id, mask) = (args.path("connection_id"), args.texts("update_mask"));
    if body.connection_id != id {
        return Err(ApiError::bad_request("The connection_id in the request body does not match the URL parameter"));
    }
    let rules = Arc::clone(&state.config().mask_rules);
    let changed = state.read(move |store| {
        let old = store.connection(&id)?.ok_or_else(|| not_found(&id))?;
        let connection = body.applied(old, &mask, &rules);
        store.commit(vec![Write::Connection(Box::new(connection.clone()))])?;
        Ok(connection)
    });
    changed.await.map(|connection| Json(ConnectionResponse::new(connection, &state)))
}

async fn delete(State(state): State<ApiState>, args: Args) -> Result<NoContent, ApiError> {
    let id = args.path("connection_id");
    let deleted = state.read(move |store| match store.commit(vec![Write::DeleteConnection(id.clone())]) {
        Ok(()) => Ok(NoContent),
        Err(StoreError::Missing { .. }) => Err(not_found(&id)),
        Err(error) => Err(error.into()),
    });
    deleted.await
}

async fn create_defaults(State(state): State<ApiState>) -> Result<NoContent, ApiError> {
    let created = state.read(|store| {
        let mut writes = Vec::new();
        for connection in defaults::connections()? {
            if store.connection(&connection.connection_id)?.is_none() {
                writes.push(Write::NewConnection(Box::new(connection)));
            }
        }
        store.commit(writes)?;
        Ok(NoContent)
    });
    created.await
}

async fn change_many(State(state): State<ApiState>, args: Args, body: JsonBody) -> ApiResult<BulkResponse> {
    let actions = bulk::read::<Connections>(&body, args)?;
    let rules = Arc::clone(&state.config().mask_rules);
    let done = state.read(move |store| bulk::run(&Connections { rules }, store, actions));
    done.await.map(|(response, _)| Json(response))
}

struct Connections {
    rules: Arc<MaskRules>,
}

impl Bulk for Connections {
    type Body = ConnectionBody;
    type Record = Connection;

    const THOSE: &'static str = "The connections with these connection_ids";
    const MODEL: &'static str = "ConnectionBody";

    fn read(fields: &mut Fields<'_>) -> ConnectionBody {
        ConnectionBody::read(fields)
    }

    fn id(body: &ConnectionBody) -> &str {
        &body.connection_id
    }

    fn find(store: &dyn Store, id: &str) -> Result<Option<Connection>, StoreError> {
        store.connection(id)
    }

    fn created(&self, body: &ConnectionBody) -> Connection {
        body.created(&self.rules)
    }

    fn overwritten(&self, body: &ConnectionBody, old: Connection) -> Connection {
        body.applied(old, &[], &self.rules)
    }

    /// Airflow does not look at the mask here.
    fn updated(&self, body: &ConnectionBody, old: Connection, _: &[String]) -> Result<Connection, ApiError> {
        Ok(body.applied(old, &[], &self.rules))
    }

    fn write_new(record: Connection) -> Write {
        Write::NewConnection(Box::new(record))
    }

    fn write(record: Connection) -> Write {
        Write::Connection(Box::new(record))
    }

    fn write_deleted(id: &str) -> Write {
        Write::DeleteConnection(id.to_owned())
    }
}
