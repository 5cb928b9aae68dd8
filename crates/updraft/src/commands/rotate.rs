//! `updraft rotate-fernet-key`.

use anyhow::{Result, bail};

use super::Context;

pub fn run(context: &Context) -> Result<()> {
    if !context.home.database().exists() {
        bail!("there is no database in the home {}", context.home.path.display());
    }
    // As for any command that opens it: the schema is brought up to date, unless a server uses it.
    context.open()?;
    let done = context.sqlite()?.reencrypt(true)?;
    say!("{} secrets of variables and connections are encrypted with the first key now", done.changed);
    match done.locked.as_slice() {
        [] => Ok(()),
        locked => bail!("left as they are, because no key of [core] fernet_key decrypts them: {}", locked.join(", ")),
    }
}
