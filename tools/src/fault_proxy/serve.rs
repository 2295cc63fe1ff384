//! Takes connections and orders.

use std::cell::Cell;
use std::io::{self, Write as _};
use std::rc::Rc;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::LocalSet;

use crate::args::Args;
use crate::link;
use crate::order::{Order, State};

/// Serves until the input ends.
pub(crate) fn run(args: &Args) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let result = LocalSet::new().block_on(&runtime, serve(args));
    // The thread that reads standard input may wait in it.
    runtime.shutdown_background();
    result
}

/// Says on standard error what went wrong.
pub(crate) fn complain(text: &str) {
    // Nobody reads it if this fails.
    drop(writeln!(io::stderr(), "fault-proxy: {text}"));
}

fn say(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

#[derive(Debug, Default)]
struct Stats {
    open: Cell<u64>,
    taken: Cell<u64>,
}

async fn serve(args: &Args) -> io::Result<()> {
    let listener = TcpListener::bind(args.listen).await?;
    say(&format!("listening on {}", listener.local_addr()?))?;
    let (orders, state) = watch::channel(State::default());
    let stats = Rc::new(Stats::default());
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (client, _) = accepted?;
                if !state.borrow().refuses {
                    take(client, args, state.clone(), Rc::clone(&stats));
                }
            }
            line = lines.next_line() => {
                let Some(line) = line? else { return Ok(()) };
                say(&follow(&line, &orders, &stats))?;
            }
        }
    }
}

/// Does what a line says; returns the answer.
fn follow(line: &str, orders: &watch::Sender<State>, stats: &Stats) -> String {
    match line.parse() {
        Ok(Order::Stats) => {
            let (open, taken) = (stats.open.get(), stats.taken.get());
            format!("ok open={open} taken={taken}")
        }
        Ok(order) => {
            orders.send_modify(|state| state.follow(order));
            "ok".to_owned()
        }
        Err(error) => format!("error: {error}"),
    }
}

fn take(client: TcpStream, args: &Args, state: watch::Receiver<State>, stats: Rc<Stats>) {
    let to = args.to;
    stats.taken.set(stats.taken.get() + 1);
    tokio::task::spawn_local(async move {
        // A client whose server is not there is closed, as its own attempt would fail.
        if let Ok(server) = TcpStream::connect(to).await {
            let nodelay = client
                .set_nodelay(true)
                .and_then(|()| server.set_nodelay(true));
            if nodelay.is_ok() {
                stats.open.set(stats.open.get() + 1);
                link::run(client, server, state).await;
                stats.open.set(stats.open.get() - 1);
            }
        }
    });
}
