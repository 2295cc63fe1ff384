//! `ipc-gateway doctor`: whether this machine and this configuration do for a gateway, before one is
//! started. It starts nothing, changes nothing, and publishes nothing to the subject of a route.
//!
//! | file | what it has |
//! |---|---|
//! | `finding` | the checks by name, and what one has found |
//! | `host` | looking: what the kernel, `/proc` and `/sys` say |
//! | `machine` | judging that |
//! | `process` | whose limits are judged |
//! | `place` | the socket's place |
//! | `rights` | judging what the user may do at a server |
//! | `servers` | judging what else `nats::probe` has seen |
//!
//! Judging is apart from looking, so that it can be tested on any machine.

mod finding;
mod host;
mod machine;
mod place;
mod process;
mod rights;
mod servers;

use std::process::ExitCode;

use super::args::DoctorArgs;
use super::check_config::complain_of;
use super::exit::Exit;
use super::output::{complain, print_line};
use crate::config::Config;
use crate::nats::probe;
use crate::settings::UpstreamKind;

use self::finding::{Finding, Level};
use self::host::HostFacts;
use self::process::Process;

/// Prints a line for each check, and one with what to do under each that is not OK; exit 1 if one
/// is FAIL, 78 (or 2, if a flag is to blame) if the configuration cannot be used.
#[must_use]
pub fn run(args: &DoctorArgs) -> ExitCode {
    let config = match Config::load(&args.overrides.to_overrides()) {
        Ok(config) => config,
        Err(refused) => return complain_of(&refused).into(),
    };
    let process = Process::find(&config.control.admin);
    let mut findings = vec![process.finding()];
    findings.extend(machine::judge(&HostFacts::look(&process), &config));
    findings.extend(place::examine(&config.control, &process));
    if config.upstream == UpstreamKind::Nats {
        let subjects: Vec<&str> = config
            .routes
            .iter()
            .map(|route| route.subject.as_str())
            .collect();
        match probe(&config.nats, &subjects) {
            Ok(probes) => findings.extend(servers::judge(&probes, &config)),
            Err(error) => {
                complain(error);
                return Exit::OsError.into();
            }
        }
    }
    let text = if args.json {
        serde_json::to_string_pretty(&findings).unwrap_or_default()
    } else {
        let lines: Vec<String> = findings.iter().map(Finding::to_string).collect();
        lines.join("\n")
    };
    let exit = if findings.iter().any(|it| it.level == Level::Fail) {
        Exit::Failure
    } else {
        Exit::Ok
    };
    print_line(text).err().unwrap_or(exit).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Host, Overrides};

    /// A configuration with this file.
    pub(super) fn configured(text: &str) -> Config {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let host = Host {
            uid: 0,
            ..Host::read()
        };
        let flags = Overrides {
            config: file.path().to_str().map(str::to_owned),
            ..Overrides::default()
        };
        Config::load_from(&flags, |_| None, &host).unwrap()
    }
}
