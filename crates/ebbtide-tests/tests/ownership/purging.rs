//! Ending many at once: first the plan, then exactly that.

use ebbtide_tests::Machine;

#[test]
fn a_purge_ends_what_its_plan_named_and_is_refused_when_that_has_changed() {
    let machine = Machine::take();
    let home = machine.home();
    let other = home.create(&[]);
    let first = home.create(&["--tag", "demo"]);
    let plan = home.ebb(["purge", "--tag", "demo", "--json"]).run().json();
    assert_eq!((&plan["dry_run"], &plan["matched"][0]), (&true.into(), &first.clone().into()), "{plan}");
    let stale = plan["hash"].as_str().unwrap().to_owned();
    let second = home.create(&["--tag", "demo"]);
    let refused = home.ebb(["purge", "--tag", "demo", "--confirm", &stale]).run().exited(125);
    assert!(refused.error().contains("without --confirm"), "{}", refused.error());
    assert_eq!(home.live(), 3, "a stale plan has ended something");

    let shown = home.ebb(["purge", "--tag", "demo"]).run().exited(0);
    assert!(shown.text().contains(&first) && shown.text().contains(&second), "{}", shown.text());
    let hash = shown.error().split("--confirm ").nth(1).unwrap().trim().to_owned();
    let done = home.ebb(["purge", "--tag", "demo", "--confirm", &hash, "--json"]).run().json();
    assert_eq!(done["outcomes"].as_array().unwrap().len(), 2, "{done}");
    assert!(done["outcomes"].as_array().unwrap().iter().all(|one| one["outcome"] == "destroyed"), "{done}");
    assert_eq!(home.get(&first)["end"]["reason"], "purged");
    assert_eq!(home.state(&other), "running");

    assert_eq!(home.ebb(["purge", "--all", "--yes"]).run().ok(), "1 ended");
    assert_eq!(home.live(), 0);
}
