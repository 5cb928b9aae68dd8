//! `updraft users`: the simple auth manager has its users in the configuration and their passwords in a file.

use anyhow::{Result, bail};
use api::{AuthSettings, UserAccount};

use super::{Context, meant, show};
use crate::args::{Output, UsersCommand};
use crate::{accounts, output};

pub fn run(context: &Context, command: UsersCommand) -> Result<()> {
    let settings = accounts::auth_settings(&context.home, &context.config)?;
    match command {
        UsersCommand::List(args) => list(&settings, args.output),
        UsersCommand::ResetPassword { username, password } => reset(&settings, &username, password),
    }
}

fn list(settings: &AuthSettings, format: Output) -> Result<()> {
    let passwords = accounts::passwords(&settings.passwords_file)?;
    let row = |user: &UserAccount| {
        cli::row([
            ("username", user.name.as_str().into()),
            ("role", user.role.name().to_lowercase().into()),
            ("has_password", passwords.contains_key(&user.name).into()),
        ])
    };
    show(&settings.users.iter().map(row).collect::<Vec<_>>(), format)?;
    if settings.all_admins {
        say!("[core] simple_auth_manager_all_admins is set: everybody is an administrator, nobody logs in");
    } else {
        let file = settings.passwords_file.display();
        say!("Passwords are in {file}; users are in [core] simple_auth_manager_users");
    }
    Ok(())
}

fn reset(settings: &AuthSettings, name: &str, password: Option<String>) -> Result<()> {
    if !settings.users.iter().any(|user| user.name == name) {
        let hint = meant(name, settings.users.iter().map(|user| user.name.as_str()));
        bail!("there is no user {name:?}{hint} (users are in [core] simple_auth_manager_users)");
    }
    let is_made = password.is_none();
    let password = match password {
        Some(password) => password,
        None => accounts::new_password()?,
    };
    let mut passwords = accounts::passwords(&settings.passwords_file)?;
    passwords.insert(name.to_owned(), password.as_str().into());
    accounts::write_passwords(&settings.passwords_file, passwords)?;
    say!("User \"{name}\" password reset successfully");
    if is_made { output::print_line(&password) } else { Ok(()) }
}
