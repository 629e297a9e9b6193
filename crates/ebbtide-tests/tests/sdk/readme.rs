//! The program that the README shows.

use std::process::Command;

use ebbtide_tests::Machine;

include!("../../../ebbtide/examples/readme/program.rs");

const PROGRAM: &str = include_str!("../../../ebbtide/examples/readme/program.rs");
const README: &str = include_str!("../../../../README.md");

#[test]
fn the_program_of_the_readme_is_short_and_does_what_it_says() {
    assert!(README.contains(PROGRAM), "the README shows another program than examples/readme/program.rs");
    assert!(PROGRAM.lines().count() <= 15);
    let machine = Machine::take();
    let home = machine.home();
    // As a user would run it: in a process of its own, which knows its daemon by the environment.
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", "readme::runs_the_program"])
        .env("EBBTIDE_HOME", home.state_dir())
        .env("EBBTIDE_BIN", home.binary())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("2 + 2 = 4\napple\npear\n"), "{said}");
    assert_eq!(home.live(), 0);
    home.shutdown();
    machine.assert_nothing_left();
}

#[test]
#[ignore = "a part of the test above, which runs it in a process of its own"]
fn runs_the_program() {
    main().unwrap();
}
