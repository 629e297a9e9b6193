//! What a person is told: why a sandbox lives, and what its end has released.

use ebbtide_tests::Machine;

#[test]
fn a_person_is_told_who_owns_a_sandbox_how_it_ended_and_what_that_released() {
    let machine = Machine::take();
    let home = machine.home();
    let id = home.create(&["--owner", &std::process::id().to_string(), "--orphan-grace", "90"]);
    let why = home.ebb(["why", &id]).run().ok();
    assert!(why.contains(&format!("Sandbox {id} is running.")), "{why}");
    assert!(why.contains(&format!("It is owned by process {}", std::process::id())), "{why}");
    assert!(why.contains("can be adopted for 1m 30s, and then ends."), "{why}");
    assert!(why.contains("when its lifetime is over."), "{why}");
    let early = home.ebb(["receipt", &id]).run().exited(125);
    assert!(early.error().contains("it has not ended"), "{}", early.error());
    let row = home.ebb(["list"]).run().ok();
    assert!(row.contains(&format!("process {}", std::process::id())), "{row}");

    let _ = home.ebb(["stop", "--grace", "0", &id]).run().exited(0);
    let receipt = home.ebb(["receipt", &id, "--json"]).run().json();
    assert_eq!(
        (&receipt["reason"], receipt["left"].as_array().unwrap().len()),
        (&"stopped".into(), 0),
        "{receipt}"
    );
    assert!(receipt["released"].as_array().unwrap().iter().any(|of| of["kind"] == "cgroups"), "{receipt}");
    assert!(home.ebb(["receipt", &id]).run().ok().ends_with("nothing is left"));
    let why = home.ebb(["why", &id]).run().ok();
    assert!(why.contains("it was stopped") && why.contains("nothing is left."), "{why}");
    let unknown = home.ebb(["why", "01zzzzzzzzzzzzzzzzzzzzzzzz"]).run().exited(125);
    assert!(unknown.error().contains("ebb list"), "{}", unknown.error());
}

#[test]
fn doctor_takes_away_what_belongs_to_nobody_and_nothing_else() {
    let machine = Machine::take();
    let home = machine.home();
    let lives = home.create(&[]);
    let stray = home.run_dir().join("s").join("01zzzzzzzzzzzzzzzzzzzzzzzz");
    std::fs::create_dir(&stray).unwrap();
    let found = home.ebb(["doctor", "--json"]).run().exited_with_json(1);
    assert_eq!(found["leaks"].as_array().unwrap().len(), 1, "{found}");
    let fixed = home.ebb(["doctor", "--fix", "--json"]).run().json();
    assert_eq!(fixed["fixed"][0]["outcome"], "removed", "{fixed}");
    assert_eq!(fixed["clean"], true, "{fixed}");
    assert!(!stray.exists());
    assert_eq!(home.exec(&lives, "echo alive").run().ok(), "alive");
    let _ = home.ebb(["stop", "--grace", "0", &lives]).run().exited(0);
}
