//! What can be seen of a daemon from outside: events, metrics, logs, and the shapes of `--json`.
#![expect(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::Duration;

use ebbtide_tests::{Machine, Started, TestHome, eventually};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(30);

/// A daemon in the foreground with its log in a file, and the line by which it says that it can be called.
fn serve(home: &TestHome, args: &[&str], level: &str) -> (Started, Value) {
    let log = File::create(home.directory().join("serve.log")).expect("a log");
    let serve = home.ebb([&["serve", "--json"], args].concat()).env("EBBTIDE_LOG", level);
    let mut daemon = serve.beside(Stdio::piped(), log);
    let mut line = String::new();
    BufReader::new(daemon.stdout()).read_line(&mut line).expect("a line");
    (daemon, serde_json::from_str(&line).expect("JSON"))
}

fn lines(text: &str) -> Vec<Value> {
    // The last one may still be being written.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}")))
        .collect()
}

/// What happened to one sandbox, as `event` or `event:reason`.
fn told(events: &[Value], id: &str) -> Vec<String> {
    let of_it = events.iter().filter(|event| event["sandbox_id"] == id);
    let words = of_it.map(|event| match event["reason"].as_str() {
        Some(reason) => format!("{}:{reason}", event["event"].as_str().unwrap_or_default()),
        None => event["event"].as_str().unwrap_or_default().to_owned(),
    });
    words.collect()
}

#[test]
fn a_follower_sees_each_life_in_order_also_over_the_death_of_the_daemon() {
    let machine = Machine::take();
    let home = machine.home();
    let file = home.directory().join("events");
    let follow = home.ebb(["events", "--follow", "--json"]);
    let mut follower = follow.beside(File::create(&file).expect("a file"), Stdio::null());
    let seen = || lines(&fs::read_to_string(&file).expect("read the events"));
    let waits_for = |what: &str, id: &str, event: &str| {
        eventually(what, LIMIT, || told(&seen(), id).iter().any(|seen| seen == event).then_some(()));
    };

    let stopped = home.create(&["--", "sh", "-c", "trap 'exit 3' TERM; while :; do sleep 0.1; done"]);
    let _ = home.ebb(["stop", &stopped]).run().exited(0);
    let purged = home.create(&["--tag", "p"]);
    let _ = home.ebb(["purge", "--tag", "p", "--yes"]).run().exited(0);
    let kept = home.create(&[]);
    waits_for("the last one is seen to run", &kept, "running");
    home.kill_daemon();
    waits_for("the next daemon tells what it found", &kept, "reconciled:adopted");
    let _ = home.ebb(["stop", "--grace", "0", &kept]).run().exited(0);
    waits_for("it is seen to end", &kept, "stopped:stopped");
    home.shutdown();
    follower.wait(LIMIT);

    let events = seen();
    assert_eq!(told(&events, &stopped), ["created", "running", "stopping:stopped", "stopped:stopped"]);
    assert_eq!(told(&events, &purged), ["created", "running", "stopping:purged", "stopped:purged"]);
    let life = ["created", "running", "reconciled:adopted", "stopping:stopped", "stopped:stopped"];
    let mut of_kept = told(&events, &kept);
    // That it runs is durable only some moments later, so the next daemon may find it out for itself.
    of_kept.dedup();
    assert_eq!(of_kept, life);
    let end =
        events.iter().find(|event| event["sandbox_id"] == stopped.as_str() && event["event"] == "stopped");
    assert_eq!(end.expect("its end")["exit_code"], 3);
    let missed = events.iter().position(|event| event["event"] == "missed").expect("the gap is told");
    let numbers: Vec<u64> = events.iter().filter_map(|event| event["sequence"].as_u64()).collect();
    assert!(numbers.is_sorted_by(|before, after| before < after), "{numbers:?}");
    assert!(numbers[..missed].windows(2).all(|pair| pair[1] == pair[0] + 1), "{numbers:?}");
}

#[test]
fn a_scrape_counts_what_was_done() {
    let machine = Machine::take();
    let home = machine.home();
    let (mut daemon, ready) = serve(&home, &["--metrics", "127.0.0.1:0"], "info");
    let url = ready["metrics"].as_str().expect("where the metrics are").to_owned();
    let scrape = || -> BTreeMap<String, f64> {
        let address = url.trim_start_matches("http://").trim_end_matches("/metrics");
        let mut stream = TcpStream::connect(address).expect("connect");
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("ask");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        let samples = body.lines().filter(|line| !line.starts_with('#') && line.contains(' '));
        samples
            .map(|line| line.rsplit_once(' ').expect("a number"))
            .map(|(name, number)| (name.to_owned(), number.parse().expect("a number")))
            .collect()
    };
    assert_eq!(scrape()["ebbtide_creates_total"], 0.0);
    let id = home.create(&[]);
    assert_eq!(home.exec(&id, "echo one").run().ok(), "one");
    let now = scrape();
    assert_eq!(now["ebbtide_sandboxes{state=\"running\"}"], 1.0, "{now:?}");
    let _ = home.ebb(["stop", "--grace", "0", &id]).run().exited(0);
    let now = scrape();
    for (name, number) in [
        ("ebbtide_creates_total", 1.0),
        ("ebbtide_stops_total{reason=\"stopped\"}", 1.0),
        ("ebbtide_sandboxes{state=\"running\"}", 0.0),
        ("ebbtide_step_seconds_count{step=\"create\"}", 1.0),
        ("ebbtide_step_seconds_count{step=\"first_exec\"}", 1.0),
        ("ebbtide_step_seconds_count{step=\"destroy\"}", 1.0),
        ("ebbtide_leaks_total", 0.0),
    ] {
        assert_eq!(now.get(name), Some(&number), "{name}: {now:?}");
    }
    assert!(now["ebbtide_connections_accepted_total{from=\"socket\"}"] >= 3.0);
    home.shutdown();
    daemon.wait(LIMIT);
}

#[test]
fn the_log_holds_the_ids_of_each_request_and_nothing_that_it_carried() {
    let machine = Machine::take();
    let home = machine.home();
    let (mut daemon, _) = serve(&home, &["--log-format", "json"], "trace");
    let id = home.create(&["--env", "TOKEN=secret-in-the-environment", "--", "sleep", "600"]);
    let _ = home.exec(&id, "echo secret-in-the-arguments; cat").stdin("secret-in-the-input").run().exited(0);
    let _ = home.ebb(["run", "--", "secret-no-such-program"]).run().exited(127);
    let _ = home.ebb(["stop", "--grace", "0", &id]).run().exited(0);
    home.shutdown();
    daemon.wait(LIMIT);
    let text = fs::read_to_string(home.directory().join("serve.log")).expect("read the log");
    assert!(!text.contains("secret"), "{:?}", text.lines().find(|line| line.contains("secret")));
    let lines = lines(&text);
    let requests: Vec<&Value> = lines.iter().filter(|line| line["span"]["name"] == "request").collect();
    assert!(requests.iter().all(|line| line["span"]["request_id"].as_str().is_some_and(|id| !id.is_empty())));
    for method in ["CreateSandbox", "StreamExec", "DeleteSandbox"] {
        let of_it =
            |line: &&&Value| line["span"]["method"] == method && line["span"]["sandbox"] == id.as_str();
        assert!(requests.iter().any(|line| of_it(&line)), "no line of {method}");
    }
    let end = lines.iter().find(|line| line["message"] == "ended").expect("a line about an end");
    assert!(end["span"]["sandbox"].is_string(), "{end}");
}

/// The keys in a row of a table: the words in `"quotes"` that are not values.
fn quoted(row: &str) -> BTreeSet<String> {
    let parts: Vec<&str> = row.split('"').collect();
    let words = parts.chunks_exact(2).filter(|pair| !pair[0].ends_with(": "));
    words.map(|pair| pair[1].to_owned()).collect()
}

/// The words in code of a text, without what is said about them in brackets.
fn fields(text: &str) -> BTreeSet<String> {
    let mut depth = 0;
    let outside = |letter: &char| {
        depth += i32::from(*letter == '(') - i32::from(*letter == ')');
        depth == 0
    };
    let text: String = text.chars().filter(outside).collect();
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The keys of an object.
fn top(value: &Value) -> BTreeSet<String> {
    value.as_object().expect("an object").keys().cloned().collect()
}

/// Every key of an object, also of those in its lists.
fn keys(value: &Value) -> BTreeSet<String> {
    match value {
        Value::Object(fields) => {
            fields.iter().flat_map(|(key, value)| std::iter::once(key.clone()).chain(keys(value))).collect()
        }
        Value::Array(items) => items.iter().flat_map(keys).collect(),
        _ => BTreeSet::new(),
    }
}

#[test]
fn what_json_prints_is_what_is_documented() {
    let document = include_str!("../../../docs/cli.md");
    let table = document.split_once("\n## JSON").expect("the chapter").1;
    let documented = |verb: &str| {
        let is_of = |line: &&str| line.starts_with('|') && line.contains(&format!("`{verb}`"));
        let row = table.lines().find(|line| is_of(line) || line.starts_with(&format!("| {verb} |")));
        quoted(row.unwrap_or_else(|| panic!("{verb} is not documented")))
    };
    let sandbox = table.split_once("\n*sandbox*: ").expect("the shape of a sandbox").1;
    let sandbox = sandbox.split_once("Environment").expect("its end").0;
    let sandbox = fields(sandbox);
    let described = table.split_once("\n*described sandbox*: ").expect("the shape of a described one").1;
    let described = fields(described.split_once("\n\n").expect("its end").0);
    let described: BTreeSet<String> = sandbox.union(&described).cloned().collect();

    let machine = Machine::take();
    let home = machine.home();
    let json = |args: &[&str]| home.ebb(args.iter().copied()).run().json();
    let made = json(&["create", "--json", "--tag", "t", "--", "sh", "-c", "echo line; sleep 1000"]);
    assert_eq!(keys(&made), sandbox);
    let id = made["id"].as_str().expect("an id").to_owned();
    let get: BTreeSet<String> = described.union(&documented("get")).cloned().collect();
    assert_eq!(top(&home.get(&id)), get);
    assert_eq!(top(&json(&["why", "--json", &id])), described);
    let list = json(&["list", "--json"]);
    assert_eq!(top(&list), documented("list"));
    assert_eq!(top(&list["sandboxes"][0]), described);
    let run = json(&["exec", "--json", &id, "--", "true"]);
    assert_eq!(keys(&run), documented("exec"));
    assert_eq!(keys(&json(&["run", "--json", "--", "true"])), documented("run"));
    let inside = format!("{id}:/etc/hostname");
    let copied = home.directory().join("copied");
    assert_eq!(keys(&json(&["cp", "--json", &inside, copied.to_str().unwrap()])), documented("cp"));
    let logs = home.ebb(["logs", "--json", &id]).run().ok();
    assert_eq!(keys(&lines(&format!("{logs}\n"))[0]), documented("logs"));
    let key = json(&["key", "create", "--json"]);
    assert_eq!(keys(&key), documented("key create"));
    assert_eq!(keys(&json(&["key", "list", "--json"])), documented("key list"));
    let revoked = json(&["key", "revoke", "--json", key["id"].as_str().expect("an id")]);
    assert_eq!(keys(&revoked), documented("key revoke"));
    assert_eq!(top(&json(&["doctor", "--json"])), documented("doctor"));
    // Without an outcome, since nothing is done.
    assert!(keys(&json(&["purge", "--all", "--json"])).is_subset(&documented("purge")));
    let events = home.ebb(["events", "--json"]).run().ok();
    for event in lines(&format!("{events}\n")) {
        assert_eq!(keys(&event), documented("events"));
    }
    assert_eq!(keys(&json(&["completions", "bash", "--json"])), documented("completions"));
    assert_eq!(keys(&json(&["stop", "--grace", "0", "--json", &id])), documented("stop"));
    assert_eq!(keys(&json(&["shutdown", "--json"])), documented("shutdown"));
    let (mut daemon, ready) = serve(&home, &[], "info");
    assert_eq!(keys(&ready), documented("serve"));
    let refused = home.ebb(["get", "nobody", "--json"]).run().exited(125);
    let error: Value = serde_json::from_slice(&refused.stderr).expect("JSON");
    assert!(keys(&error).is_subset(&documented("errors")), "{error}");
    home.shutdown();
    daemon.wait(LIMIT);
}
