//! `ipc-gateway check-config`: reads the configuration as `serve` would, and starts nothing.

use std::process::ExitCode;

use super::args::CheckConfigArgs;
use super::exit::Exit;
use super::output::{complain, print_line};
use crate::config::{Config, Refused};
use crate::control::FORM;

/// Prints one line; exit 0 if it can be used. If not, 78 (or 2, if a flag is to blame) with a line for
/// each thing that is wrong, and where that holds no secret the line of the file under it.
#[must_use]
pub fn run(args: &CheckConfigArgs) -> ExitCode {
    match args.takes_over {
        Some(form) if form != FORM => {
            complain(format_args!(
                "this program takes over sessions in form {FORM}, not {form}; with a stop and a start, \
                 clients attach again"
            ));
            Exit::Usage.into()
        }
        _ => check(Config::load(&args.overrides.to_overrides())).into(),
    }
}

fn check(config: Result<Config, Refused>) -> Exit {
    let config = match config {
        Ok(config) => config,
        Err(refused) => {
            return complain_of(&refused);
        }
    };
    print_line(summary(&config)).err().unwrap_or(Exit::Ok)
}

/// Writes a line for each error, with the line of the file where that can be shown.
pub(super) fn complain_of(refused: &Refused) -> Exit {
    for error in refused.errors() {
        match refused.excerpt(error) {
            Some(excerpt) => complain(format_args!("{error}\n{excerpt}")),
            None => complain(error),
        }
    }
    Exit::from(refused)
}

fn summary(config: &Config) -> String {
    let (routes, workers) = (config.routes.len(), config.workers.workers);
    let metrics = config.control.metrics;
    let metrics = metrics.map_or_else(String::new, |address| format!(" metrics {address},"));
    format!(
        "ok: socket {}, admin {},{metrics} upstream {}, {workers} {}, {routes} {}",
        config.control.socket.display(),
        config.control.admin,
        config.upstream.name(),
        if workers == 1 { "worker" } else { "workers" },
        if routes == 1 { "route" } else { "routes" },
    )
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::args::{Cli, Command};
    use crate::config::Host;

    fn exit(text: &str, more: &[&str]) -> Exit {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let path = file.path().to_str().unwrap();
        let words = ["ipc-gateway", "check-config", "--config", path];
        let cli = Cli::try_parse_from(words.iter().chain(more)).unwrap();
        let Command::CheckConfig(args) = cli.command else {
            panic!("not check-config");
        };
        let host = Host {
            uid: 0,
            ..Host::read()
        };
        let config = Config::load_from(&args.overrides.to_overrides(), |_| None, &host);
        check(config)
    }

    #[test]
    fn a_good_file_is_exit_0_a_bad_one_78_and_a_bad_flag_2() {
        assert_eq!(exit("workers.count = 2", &[]), Exit::Ok);
        assert_eq!(exit("workers.cuont = 2", &[]), Exit::Config);
        assert_eq!(exit("workers.count = 0", &[]), Exit::Config);
        assert_eq!(exit("", &["--workers", "65"]), Exit::Usage);
    }

    #[test]
    fn the_line_says_what_will_be_started() {
        let host = Host {
            uid: 0,
            cores: 1,
            ..Host::read()
        };
        let mut flags = crate::config::Overrides {
            config: Some("/dev/null".to_owned()),
            ..Default::default()
        };
        let config = Config::load_from(&flags, |_| None, &host).unwrap();
        assert_eq!(
            summary(&config),
            "ok: socket /run/ipc-gateway/gateway.sock, admin /run/ipc-gateway/admin.sock, \
             upstream nats, 1 worker, 1 route"
        );
        flags.metrics = Some("127.0.0.1:9464".to_owned());
        let config = Config::load_from(&flags, |_| None, &host).unwrap();
        let summary = summary(&config);
        let words = "admin.sock, metrics 127.0.0.1:9464, upstream nats";
        assert!(summary.contains(words), "{summary}");
    }
}
