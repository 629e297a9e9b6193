use ebbtide::blocking::Sandbox;

fn main() -> Result<(), ebbtide::Error> {
    let sandbox = Sandbox::builder().tag("readme").run()?;
    let sum = sandbox.exec(["python3", "-c", "print(2 + 2)"]).check().output()?;
    print!("2 + 2 = {}", sum.stdout_text());
    let sorted = sandbox.exec(["sort"]).output_of("pear\napple\n")?;
    print!("{}", sorted.stdout_text());
    sandbox.stop()
}
