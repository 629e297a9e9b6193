//! Memory is used up, in a sandbox and under the daemon.

use ebbtide_tests::Machine;

use super::{ended, settled, works};

/// Takes more than it may.
const HUNGRY: &str = "x = bytearray(300 << 20); print(len(x))";

#[test]
fn a_main_command_killed_for_want_of_memory_says_so_and_harms_nobody() {
    let machine = Machine::take();
    let home = machine.home();
    let other = home.create(&[]);
    let hungry = home.create(&["--memory", "64Mi", "--", "python3", "-c", HUNGRY]);
    let sandbox = ended(&home, &hungry);
    assert_eq!(
        (&sandbox["state"], &sandbox["reason"]),
        (&"completed".into(), &"out_of_memory".into()),
        "{sandbox}"
    );
    assert_eq!(sandbox["exit_code"], 137);
    let receipt = home.ebb(["receipt", &hungry, "--json"]).run().json();
    assert!(receipt["left"].as_array().is_none_or(Vec::is_empty), "{receipt}");
    works(&home, &other);
    // A child of the main command that is killed so is the main command's to deal with.
    let script = "python3 -c 'x = bytearray(300 << 20)'; echo $?; sleep 600";
    let lives = home.create(&["--memory", "64Mi", "--", "sh", "-c", script]);
    let output = home.ebb(["exec", &lives, "--", "python3", "-c", HUNGRY]).run();
    assert_eq!(output.code(), 137, "{}", output.error());
    works(&home, &lives);
    assert_eq!(home.state(&lives), "running");
    settled(&home, [&other, &hungry, &lives]);
}
