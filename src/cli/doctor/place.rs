//! The places of the sockets: whether a gateway of this user could listen there.

use super::finding::{Check, Finding};
use crate::control::{StartError, Vacancy, vacancy};
use crate::settings::{AdminAddress, ControlSettings};

/// A finding for each socket that is a file.
pub(super) fn examine(settings: &ControlSettings) -> Vec<Finding> {
    let mut places = vec![(settings.socket.as_path(), "--socket")];
    if let AdminAddress::Unix(path) = &settings.admin {
        places.push((path, "--admin"));
    }
    let places = places.into_iter();
    places
        .map(|(path, flag)| match vacancy(path, flag) {
            Ok(found) => {
                let path = path.display();
                Finding::ok(
                    Check::Socket,
                    match found {
                        Vacancy::Free => format!("{path} can be had"),
                        Vacancy::Unmade => format!("{path} can be had, in a directory to be made"),
                        Vacancy::Listening => {
                            format!("{path}: a program listens there, as a gateway that runs does")
                        }
                    },
                )
            }
            Err(error) => refused(&error),
        })
        .collect()
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
            let found = examine(&settings);
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
        assert_eq!(listening.level, Level::Ok);
        assert!(listening.found.contains("listens"), "{listening}");
    }
}
