//! What an image says of its commands, and what a request says instead.

use ebbtide::{LogOptions, SandboxState, StopOptions};
use ebbtide_tests::Machine;
use serde_json::json;

use crate::world::{builder, load, system};

const LIMIT: std::time::Duration = std::time::Duration::from_secs(60);

#[tokio::test]
async fn command_arguments_and_the_images_own_follow_the_rules_of_kubernetes() {
    let machine = Machine::take();
    let home = machine.home();
    let config = json!({ "Entrypoint": ["sh", "-c", "echo $0 $*; exit $#"], "Cmd": ["image", "says"] });
    load(&home, &system("app", config), "example/app:1");
    let on_image = || builder(&home).image("example/app:1");
    for (sandbox, said, code) in [
        (on_image().args(["my", "own", "words"]), "my own words\n", 2),
        (on_image().command("sh").args(["-c", "echo mine; exit 7"]), "mine\n", 7),
        // What the public client can ask for: neither of the two.
        (on_image().edit_spec(|spec| spec.annotations.clear()).detach(), "image says\n", 1),
    ] {
        let sandbox = sandbox.run().await.unwrap();
        let info = sandbox.wait_until_complete(LIMIT).await.unwrap();
        assert_eq!(info.exit_code, Some(code));
        let mut logs = sandbox.logs(LogOptions::default()).await.unwrap();
        assert_eq!(logs.next_line().await.unwrap().as_deref(), Some(said));
    }
    // Ours idles without a command, and so does `ebb create`.
    let idle = on_image().run().await.unwrap();
    assert_eq!(idle.wait().await.unwrap().state, SandboxState::Running);
    let id = home.create(&["--image", "example/app:1"]);
    assert_eq!(home.exec(&id, "echo alive").run().ok(), "alive");
    // `ebb run` runs what the image says, with our streams.
    let run = home.ebb(["run", "--image", "example/app:1"]).run().exited(1);
    assert_eq!(run.text(), "image says");
    idle.stop().await.unwrap();
    home.ebb(["stop", &id, "--grace", "0"]).run().ok();
    home.shutdown();
    machine.assert_nothing_left();
}

#[test]
fn an_image_without_a_command_has_to_be_told_one() {
    let machine = Machine::take();
    let home = machine.home();
    load(&home, &system("app", json!({})), "example/app:1");
    let refused = home.ebb(["run", "--image", "example/app:1"]).run().exited(125);
    assert!(refused.error().contains("no command of its own"), "{}", refused.error());
    assert_eq!(home.live(), 0);
    let _ = home.ebb(["run"]).run().exited(2);
}

#[test]
fn environment_directory_and_user_are_the_images_unless_asked_otherwise() {
    let machine = Machine::take();
    let home = machine.home();
    let config = json!({
        "Env": ["PATH=/bin", "A=image", "B=image"],
        "WorkingDir": "/home/app/made",
        "User": "app:team",
    });
    load(&home, &system("app", config), "example/app:1");
    let says = "echo $A $B $(pwd) $(id -u) $(id -g)";
    let run = |args: &[&str]| {
        let args = ["run", "--image", "example/app:1"].iter().chain(args).copied();
        home.ebb(args.chain(["--", "sh", "-c", says])).run().ok()
    };
    assert_eq!(run(&[]), "image image /home/app/made 1000 2000");
    assert_eq!(run(&["--env", "B=mine", "--workdir", "/home"]), "image mine /home 1000 2000");
    // The same for a main command.
    let main = home.create(&[
        "--image",
        "example/app:1",
        "--env",
        "B=mine",
        "--",
        "sh",
        "-c",
        &format!("{says}; sleep 60"),
    ]);
    let logged = ebbtide_tests::eventually("the main command says who it is", LIMIT, || {
        Some(home.ebb(["logs", &main]).run().ok()).filter(|said| !said.is_empty())
    });
    assert_eq!(logged, "image mine /home/app/made 1000 2000");
    home.ebb(["stop", &main, "--grace", "0"]).run().ok();
    load(&home, &system("plain", json!({})), "example/plain:1");
    let plain =
        home.ebb(["run", "--image", "example/plain:1", "--", "sh", "-c", "echo $(pwd) $(id -u)"]).run().ok();
    assert_eq!(plain, "/ 0");
}

#[test]
fn a_user_that_the_image_does_not_have_is_named() {
    let machine = Machine::take();
    let home = machine.home();
    load(&home, &system("app", json!({ "User": "nobody-here" })), "example/app:1");
    let failed = home.ebb(["create", "--image", "example/app:1"]).run().exited(125);
    assert!(failed.error().contains("nobody-here"), "{}", failed.error());
}

#[tokio::test]
async fn the_main_command_is_asked_to_end_by_the_images_signal() {
    let machine = Machine::take();
    let home = machine.home();
    let script = "trap 'echo told; exit 3' INT; trap '' TERM; echo ready; while :; do sleep 0.05; done";
    let config = json!({ "Entrypoint": ["sh", "-c"], "StopSignal": "SIGINT" });
    load(&home, &system("app", config), "example/app:1");
    let sandbox = builder(&home).image("example/app:1").args([script]).run().await.unwrap();
    let mut logs = sandbox.logs(LogOptions { follow: true, ..LogOptions::default() }).await.unwrap();
    assert_eq!(logs.next_line().await.unwrap().as_deref(), Some("ready\n"));
    sandbox.stop_with(StopOptions::default().grace(LIMIT)).await.unwrap();
    assert_eq!(sandbox.exit_code(), Some(3));
}
