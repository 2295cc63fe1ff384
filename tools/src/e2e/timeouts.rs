//! Category 3: timeouts and late replies.

use core::time::Duration;

use ipc_tools::stage::{Client, Failure, FlowReport, Report, eventually, pause};

use crate::leaks::{Gauge, ROUNDS, Rest, judge};
use crate::scene::{SOON, Scene};

/// What a machine that is busy may take longer than was allowed, in microseconds.
const SLACK_US: u64 = 1_000_000;
/// Requests on their way at once while many time out: as many as their client's ring has entries.
const WINDOW: u32 = 512;
/// Requests whose replies are late and repeated.
const FEW: u64 = 60;

fn seconds(us: u64) -> String {
    format!("{}.{:03} s", us / 1_000_000, us % 1_000_000 / 1000)
}

pub(crate) fn normal(scene: &mut Scene, report: &mut Report) -> Result<(), Failure> {
    scene.router(&[])?;
    let mut slowest = 0;
    for _ in 0..20 {
        let id = scene.id();
        let ask = scene.ask(&id);
        let got = scene.call(report, ask)?;
        report.answer("a request without a time of its own", &got, "OK", 200);
        slowest = slowest.max(got.elapsed_us);
    }
    report.must(
        slowest < 5_000_000,
        format_args!("the slowest of 20 took {}", seconds(slowest)),
    );
    if !scene.is_external() {
        scene.router(&["--delay", "1s"])?;
        let id = scene.id();
        let ask = scene.ask(&id);
        let got = scene.call(report, ask)?;
        report.answer("a Router that takes 1 s", &got, "OK", 200);
        let is_right = (1_000_000..5_000_000).contains(&got.elapsed_us);
        report.must(
            is_right,
            format_args!("it took {}", seconds(got.elapsed_us)),
        );
    }
    Ok(())
}

pub(crate) fn slow(scene: &mut Scene, report: &mut Report) -> Result<(), Failure> {
    scene.router(&["--delay", "4200ms"])?;
    let id = scene.id();
    let ask = scene.ask(&id);
    let got = scene.call(report, ask)?;
    report.answer("a Router that takes 4.2 s", &got, "OK", 200);
    let is_right = (4_200_000..5_000_000 + SLACK_US).contains(&got.elapsed_us);
    report.must(
        is_right,
        format_args!("it took {}", seconds(got.elapsed_us)),
    );
    Ok(())
}

pub(crate) fn too_slow(scene: &mut Scene, report: &mut Report) -> Result<(), Failure> {
    scene.router(&["--delay", "5500ms"])?;
    let useless = useless(scene)?;
    let id = scene.id();
    let ask = scene.ask(&id);
    let got = scene.call(report, ask)?;
    report.answer("a Router that takes 5.5 s", &got, "TIMEOUT", 504);
    report.equal("the class", &got.outcome.as_str(), &"unknown");
    let is_right = (5_000_000..5_000_000 + SLACK_US).contains(&got.elapsed_us);
    report.must(
        is_right,
        format_args!("it was told after {}", seconds(got.elapsed_us)),
    );
    scene.until_idle()?;
    report.must(true, "nothing is in flight afterwards");
    eventually(SOON, "the late reply has come", || {
        Ok(crate::timeouts::useless(scene)? == useless + 1)
    })?;
    report.must(true, "the late reply was counted and went nowhere");
    scene.router(&[])?;
    scene.healthy()?;
    report.must(true, "the same session is served afterwards");
    Ok(())
}

/// Replies that completed nothing.
fn useless(scene: &Scene) -> Result<u64, Failure> {
    let late = scene.metric("ipcgw_late_replies_total", "")?;
    Ok(late + scene.metric("ipcgw_unmatched_replies_total", "")?)
}

/// How many replies complete nothing, where each request that was sent has three: the two that repeat
/// the first, and the first too where its request had timed out.
const fn useless_of(sent: u64, timed_out: u64) -> u64 {
    2 * sent + timed_out
}

/// Sends so many requests that must all time out.
fn time_out(
    scene: &mut Scene,
    client: &mut Client,
    report: &mut Report,
    count: u64,
) -> Result<FlowReport, Failure> {
    let flow = scene.flow(Some(count)).window(WINDOW as usize);
    let done = client.flow(flow.timeout_ms(150))?;
    report.whole(&done);
    // On a busy machine time can run out before a request is sent.
    let (timed_out, unsent) = (done.code("TIMEOUT"), done.code("EXPIRED_UNSENT"));
    report.equal("requests whose time ran out", &(timed_out + unsent), &count);
    report.must(
        unsent * 2 < count,
        format_args!("{timed_out} of {count} were on their way when it did"),
    );
    Ok(done)
}

pub(crate) fn late_leaks_nothing(scene: &mut Scene, report: &mut Report) -> Result<(), Failure> {
    scene.router(&["--late", "400ms"])?;
    let mut client = scene.start_client(WINDOW)?;
    let gauge = Gauge::of(scene)?;
    let (mut rounds, mut late) = (Vec::new(), 0);
    for _ in 0..ROUNDS {
        let before = useless(scene)?;
        let done = time_out(scene, &mut client, report, gauge.events_a_round())?;
        let sent = done.code("TIMEOUT");
        eventually(SOON, format_args!("{sent} late replies have come"), || {
            Ok(useless(scene)? >= before + sent)
        })?;
        scene.until_idle()?;
        late += sent;
        rounds.push(Rest::look(scene, late)?);
    }
    judge(report, gauge, &rounds, "late replies");
    Ok(())
}

pub(crate) fn late_completes_nothing(
    scene: &mut Scene,
    report: &mut Report,
) -> Result<(), Failure> {
    scene.router(&[
        "--late",
        "300ms",
        "--late-rate",
        "0.5",
        "--duplicate",
        "2",
        "--seed",
        "11",
    ])?;
    let before = useless(scene)?;
    // A ring of 8 entries: late and repeated replies find their places used again.
    let mut small = scene.start_client(8)?;
    let flow = scene.flow(Some(FEW)).window(8).timeout_ms(150);
    let done = small.flow(flow)?;
    report.whole(&done);
    let late = done.code("TIMEOUT");
    report.must(late > 0, format_args!("{late} of {FEW} timed out"));
    report.must(
        done.code("OK") > 0,
        format_args!("{} were answered", done.code("OK")),
    );
    let unsent = done.code("EXPIRED_UNSENT");
    let told = done.code("OK") + late + unsent;
    report.equal("answered, timed out or not sent", &told, &FEW);
    let flow = scene.flow(Some(FEW)).window(8).timeout_ms(5000);
    let done = small.flow(flow)?;
    report.whole(&done);
    report.equal("answered with time enough", &done.code("OK"), &FEW);
    let expected = useless_of(FEW.saturating_sub(unsent), late) + useless_of(FEW, 0);
    // If they do not all come, the number below says how many did.
    eventually(SOON, "late and repeated replies have come", || {
        Ok(useless(scene)? >= before + expected)
    })
    .ok();
    // One that is counted twice would be by then.
    pause(Duration::from_millis(500));
    let found = useless(scene)? - before;
    report.equal(
        "late and repeated replies that were counted and completed nothing",
        &found,
        &expected,
    );
    let refused = scene.metric("ipcgw_answers_refused_total", "")?;
    report.equal("answers that found no room", &refused, &0);
    scene.until_idle()?;
    balance(scene, report)
}

/// Everything that was accepted has completed.
pub(crate) fn balance(scene: &Scene, report: &mut Report) -> Result<(), Failure> {
    let accepted = scene.metric("ipcgw_accepted_total", "")?;
    let completed = scene.metric("ipcgw_completions_total", "")?;
    let abandoned = scene.metric("ipcgw_abandoned_total", "")?;
    let all = completed + abandoned;
    report.equal("requests completed, of those accepted,", &all, &accepted);
    Ok(())
}

pub(crate) fn no_hang(scene: &mut Scene, report: &mut Report) -> Result<(), Failure> {
    scene.router(&["--silent-rate", "0.5", "--seed", "3"])?;
    let flow = scene
        .flow(Some(400))
        .window(100)
        .timeout_ms(100)
        .spread_ms(700);
    let done = scene.send(report, flow)?;
    report.must(
        done.code("OK") > 0,
        format_args!("{} were answered", done.code("OK")),
    );
    let out = done.code("TIMEOUT");
    report.must(out > 0, format_args!("{out} were not, and were told"));
    report.must(
        done.latest_ms < 1000,
        format_args!(
            "the latest completion came {} ms after its deadline",
            done.latest_ms
        ),
    );
    // While one client waits for what never comes, another is served.
    scene.router(&["--silent-rate", "1"])?;
    let mut waiting = scene.start_client(256)?;
    let flow = scene.flow(Some(50)).window(50).timeout_ms(2500);
    waiting.begin(flow)?;
    eventually(SOON, "50 requests wait", || {
        Ok(scene.metric("ipcgw_in_flight", "")? >= 50)
    })?;
    scene.router(&[])?;
    let id = scene.id();
    let ask = scene.ask(&id);
    let got = scene.call(report, ask)?;
    report.answer("another client meanwhile", &got, "OK", 200);
    let is_right = got.elapsed_us < SLACK_US;
    report.must(
        is_right,
        format_args!("it was answered after {}", seconds(got.elapsed_us)),
    );
    let done = waiting.join()?;
    report.whole(&done);
    report.must(
        Duration::from_millis(done.elapsed_ms) < Duration::from_secs(5),
        format_args!(
            "those that waited 2.5 s were told after {} ms",
            done.elapsed_ms
        ),
    );
    Ok(())
}

pub(crate) fn thousand(scene: &mut Scene, report: &mut Report) -> Result<(), Failure> {
    scene.router(&["--silent-rate", "1"])?;
    let mut client = scene.start_client(WINDOW)?;
    let gauge = Gauge::of(scene)?;
    let (mut rounds, mut timed_out) = (Vec::new(), 0);
    for _ in 0..ROUNDS {
        let done = time_out(scene, &mut client, report, gauge.events_a_round())?;
        scene.until_idle()?;
        timed_out += done.code("TIMEOUT");
        rounds.push(Rest::look(scene, timed_out)?);
    }
    judge(report, gauge, &rounds, "timeouts");
    balance(scene, report)?;
    // No block of the ring is lost: as many can be on their way as before.
    scene.router(&[])?;
    let flow = scene.flow(Some(1024)).window(WINDOW as usize);
    let done = client.flow(flow)?;
    report.whole(&done);
    report.equal(
        "answered with a full ring afterwards",
        &done.code("OK"),
        &1024,
    );
    Ok(())
}
