//! Writing variables, connections and pools.

use rusqlite::params;

use super::{WriteResult, Writer, conflict, missing};
use crate::records::{Connection, Pool, Variable};

impl Writer {
    pub(super) fn variable(&self, variable: &Variable, new: bool) -> WriteResult<()> {
        let update = " ON CONFLICT (key) DO UPDATE SET value = excluded.value, description = excluded.description,
             is_encrypted = excluded.is_encrypted";
        let sql = format!(
            "INSERT INTO variable (key, value, description, is_encrypted) VALUES (?1, ?2, ?3, ?4){}",
            if new { "" } else { update }
        );
        let (value, is_encrypted) = self.keys.seal(&variable.value);
        self.connection
            .prepare_cached(&sql)?
            .execute(params![variable.key, value, variable.description, is_encrypted])
            .map_err(|error| conflict(error, || format!("the variable {:?}", variable.key)))?;
        Ok(())
    }

    pub(super) fn put_connection(&self, connection: &Connection, new: bool) -> WriteResult<()> {
        let update = " ON CONFLICT (connection_id) DO UPDATE SET conn_type = excluded.conn_type,
             description = excluded.description, host = excluded.host, login = excluded.login,
             password = excluded.password, schema = excluded.schema, port = excluded.port, extra = excluded.extra,
             is_encrypted = excluded.is_encrypted, is_extra_encrypted = excluded.is_extra_encrypted";
        let sql = format!(
            "INSERT INTO connection (connection_id, conn_type, description, host, login, password, schema, port, extra,
                 is_encrypted, is_extra_encrypted) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11){}",
            if new { "" } else { update }
        );
        let (password, is_encrypted) = self.seal(connection.password.as_deref());
        let (extra, is_extra_encrypted) = self.seal(connection.extra.as_deref());
        self.connection
            .prepare_cached(&sql)?
            .execute(params![
                connection.connection_id,
                connection.conn_type,
                connection.description,
                connection.host,
                connection.login,
                password,
                connection.schema,
                connection.port,
                extra,
                is_encrypted,
                is_extra_encrypted,
            ])
            .map_err(|error| conflict(error, || format!("the connection {:?}", connection.connection_id)))?;
        Ok(())
    }

    /// An empty text is no secret, in Airflow either.
    fn seal(&self, text: Option<&str>) -> (Option<String>, bool) {
        match text {
            Some(text) if !text.is_empty() => {
                let (stored, is_encrypted) = self.keys.seal(text);
                (Some(stored), is_encrypted)
            }
            other => (other.map(str::to_owned), false),
        }
    }

    pub(super) fn pool(&self, pool: &Pool, new: bool) -> WriteResult<()> {
        let update = " ON CONFLICT (name) DO UPDATE SET slots = excluded.slots, description = excluded.description,
             include_deferred = excluded.include_deferred";
        let sql = format!(
            "INSERT INTO pool (name, slots, description, include_deferred) VALUES (?1, ?2, ?3, ?4){}",
            if new { "" } else { update }
        );
        self.connection
            .prepare_cached(&sql)?
            .execute(params![pool.name, pool.slots, pool.description, pool.include_deferred])
            .map_err(|error| conflict(error, || format!("the pool {:?}", pool.name)))?;
        Ok(())
    }

    pub(super) fn delete(&self, sql: &str, kind: &str, name: &str) -> WriteResult<()> {
        match self.connection.prepare_cached(sql)?.execute([name])? {
            0 => Err(missing(format!("the {kind} {name:?}"))),
            _ => Ok(()),
        }
    }
}
