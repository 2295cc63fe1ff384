//! The places of the sockets: whether a gateway of this user could listen there.

use std::path::Path;

use super::finding::{Check, Finding};
use super::process::Process;
use crate::control::{StartError, Vacancy, vacancy};
use crate::settings::{AdminAddress, ControlSettings};

/// A finding for each socket that is a file. `process` tells whether a gateway has answered.
pub(super) fn examine(settings: &ControlSettings, process: &Process) -> Vec<Finding> {
    let mut places = vec![(settings.socket.as_path(), "--socket")];
    if let AdminAddress::Unix(path) = &settings.admin {
        places.push((path, "--admin"));
    }
    let places = places.into_iter();
    places
        .map(|(path, flag)| match vacancy(path, flag) {
            Ok(found) => judge(path, flag, found, process),
            Err(error) => refused(&error),
        })
        .collect()
}

fn judge(path: &Path, flag: &'static str, found: Vacancy, process: &Process) -> Finding {
    let place = path.display();
    match (found, process) {
        (Vacancy::Free, _) => Finding::ok(Check::Socket, format!("{place} can be had")),
        (Vacancy::Unmade, _) => Finding::ok(
            Check::Socket,
            format!("{place} can be had, in a directory to be made"),
        ),
        (Vacancy::Held { is_heard: false }, process) if process.is_gateway() => Finding::warn(
            Check::Socket,
            format!("{place}: a gateway holds it, and nobody listens there"),
            "A gateway that drains does so. If it does not drain, the socket's file was removed, and \
             no client can attach: restart it.",
        ),
        (Vacancy::Listening | Vacancy::Held { .. }, process) if process.is_gateway() => {
            Finding::ok(
                Check::Socket,
                format!("{place}: a program listens there, as a gateway that runs does"),
            )
        }
        (Vacancy::Held { .. }, Process::Own) => refused(&StartError::Taken {
            path: path.to_owned(),
            flag,
        }),
        (Vacancy::Held { .. }, _) => Finding::warn(
            Check::Socket,
            format!("{place}: a gateway holds it, and has not answered"),
            format!(
                "If it is this configuration's, see `process` above; otherwise stop it, or choose \
                 another {flag}."
            ),
        ),
        // A service manager listens before the gateway starts.
        (Vacancy::Listening, _) => Finding::warn(
            Check::Socket,
            format!("{place}: a program listens there, and no gateway has answered"),
            format!(
                "Unless it is a service manager that passes its socket to the gateway, none would \
                 start: stop that program, or choose another {flag}."
            ),
        ),
    }
}

/// The text of a [`StartError`] ends with what to do.
fn refused(error: &StartError) -> Finding {
    let text = error.to_string();
    match text.rsplit_once("; ").or_else(|| text.rsplit_once(": ")) {
        Some((found, advice)) => Finding::fail(Check::Socket, found, advice),
        None => Finding::fail(Check::Socket, text, "Choose another path."),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::super::tests::configured;
    use super::*;

    #[test]
    fn a_place_can_be_had_or_it_is_said_why_not() {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = configured("").control;
        settings.admin = AdminAddress::Tcp(([127, 0, 0, 1], 1).into());
        let mut look = |name: &str| {
            settings.socket = dir.path().join(name);
            let found = examine(&settings, &Process::Own);
            assert_eq!(found.len(), 1);
            found.into_iter().next().unwrap()
        };
        assert!(look("s").found.ends_with("can be had"));
        let unmade = look("new/s");
        assert_eq!(unmade.level, Level::Ok);
        assert!(unmade.found.ends_with("to be made"), "{unmade}");
        assert!(!dir.path().join("new").exists());
        std::fs::write(dir.path().join("file"), "").unwrap();
        let taken = look("file");
        assert_eq!(taken.level, Level::Fail);
        assert!(taken.found.ends_with("is not a socket"), "{taken}");
        assert!(taken.advice.ends_with("choose another --socket"), "{taken}");
        assert_eq!(look("file/s").level, Level::Fail);
        let _listener = std::os::unix::net::UnixListener::bind(dir.path().join("l")).unwrap();
        let listening = look("l");
        assert_eq!(listening.level, Level::Warn);
        assert!(listening.found.contains("listens"), "{listening}");
        assert!(listening.advice.contains("another --socket"), "{listening}");
    }

    #[test]
    fn a_place_in_use_is_ok_only_where_a_gateway_answers() {
        let unknown = Process::Unknown {
            reason: "no answer".to_owned(),
            advice: "see its log",
        };
        let level = |found: Vacancy, process: &Process| {
            let finding = judge(Path::new("/run/g.sock"), "--socket", found, process);
            assert!(finding.found.contains("/run/g.sock"), "{finding}");
            finding.level
        };
        let (heard, unheard) = (
            Vacancy::Held { is_heard: true },
            Vacancy::Held { is_heard: false },
        );
        for (found, gateway, own, not_known) in [
            (Vacancy::Free, Level::Ok, Level::Ok, Level::Ok),
            (Vacancy::Listening, Level::Ok, Level::Warn, Level::Warn),
            (heard, Level::Ok, Level::Fail, Level::Warn),
            (unheard, Level::Warn, Level::Fail, Level::Warn),
        ] {
            assert_eq!(level(found, &Process::Gateway(1)), gateway, "{found:?}");
            assert_eq!(level(found, &Process::Unseen), gateway, "{found:?}");
            assert_eq!(level(found, &Process::Own), own, "{found:?}");
            assert_eq!(level(found, &unknown), not_known, "{found:?}");
        }
    }
}
