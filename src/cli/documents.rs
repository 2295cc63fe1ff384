//! `ipc-gateway completions` and `man`: what shells and `man` know of the command line. Made from
//! the same definition as the command line itself, without what is hidden.

use std::path::Path;
use std::process::ExitCode;

use clap::{Command, CommandFactory as _};
use clap_complete::Shell;

use super::args::{Cli, CompletionsArgs, ManArgs};
use super::exit::Exit;
use super::output::{complain, print_line};
use crate::version::VERSION;

/// Prints the completions for a shell.
#[must_use]
pub fn completions(args: &CompletionsArgs) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut visible(), "ipc-gateway", &mut script);
    let mut script = String::from_utf8_lossy(&script).into_owned();
    if args.shell == Shell::Bash {
        // clap_complete 4.6 takes the hyphen of the program's name for the start of a subcommand in
        // half of the places, so that nothing after a subcommand would be completed.
        script = script.replace("ipc__subcmd__gateway", "ipc__gateway");
    }
    print_line(script.trim_end())
        .err()
        .unwrap_or(Exit::Ok)
        .into()
}

/// Writes one page for the program and one for each subcommand; exit 73 if it cannot.
#[must_use]
pub fn man(args: &ManArgs) -> ExitCode {
    match write_pages(&args.out) {
        Ok(()) => Exit::Ok.into(),
        Err(error) => {
            let out = args.out.display();
            complain(format_args!("cannot write man pages to {out}: {error}"));
            Exit::CantCreate.into()
        }
    }
}

fn write_pages(out: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(out)?;
    clap_mangen::generate_to(visible(), out)
}

/// The command line without what is hidden.
fn visible() -> Command {
    let whole = Cli::command();
    let mut shown = Command::new("ipc-gateway").version(VERSION);
    if let Some(about) = whole.get_about() {
        shown = shown.about(about.clone());
    }
    if let Some(after) = whole.get_after_help() {
        shown = shown.after_help(after.clone());
    }
    let subcommands = whole.get_subcommands();
    shown.subcommand_required(true).subcommands(
        subcommands
            .filter(|command| !command.is_hide_set())
            .cloned(),
    )
}
