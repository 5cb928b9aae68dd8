//! `updraft users`: the simple auth manager has its users in the configuration and their passwords in a file.

use anyhow::{Result, bail};
use api::UserAccount;

use super::{Context, meant, show};
use crate::args::{Output, UsersCommand};
use crate::{accounts, output};

pub fn run(context: &Context, command: UsersCommand) -> Result<()> {
    match command {
        UsersCommand::List(args) => list(context, args.output),
        UsersCommand::ResetPassword { username, password } => reset(context, &username, password),
    }
}

fn list(context: &Context, format: Output) -> Result<()> {
    let file = accounts::passwords_file(&context.home, &context.config);
    let passwords = accounts::passwords(&file)?;
    let row = |user: &UserAccount| {
        cli::row([
            ("username", user.name.as_str().into()),
            ("role", user.role.name().to_lowercase().into()),
            ("has_password", passwords.contains_key(&user.name).into()),
        ])
    };
    show(&accounts::users(&context.config)?.iter().map(row).collect::<Vec<_>>(), format)?;
    if context.config.flag("core", "simple_auth_manager_all_admins", false)? {
        say!("[core] simple_auth_manager_all_admins is set: everybody is an administrator, nobody logs in");
    } else {
        say!("Passwords are in {}; users are in [core] simple_auth_manager_users", file.display());
    }
    Ok(())
}

fn reset(context: &Context, name: &str, password: Option<String>) -> Result<()> {
    let users = accounts::users(&context.config)?;
    if !users.iter().any(|user| user.name == name) {
        let hint = meant(name, users.iter().map(|user| user.name.as_str()));
        bail!("there is no user {name:?}{hint} (users are in [core] simple_auth_manager_users)");
    }
    let is_made = password.is_none();
    let password = match password {
        Some(password) => password,
        None => accounts::new_password()?,
    };
    let file = accounts::passwords_file(&context.home, &context.config);
    let mut passwords = accounts::passwords(&file)?;
    passwords.insert(name.to_owned(), password.as_str().into());
    accounts::write_passwords(&file, passwords)?;
    say!("User \"{name}\" password reset successfully");
    if is_made { output::print_line(&password) } else { Ok(()) }
}
