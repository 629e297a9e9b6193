//! What runs in a sandbox, from what was asked for and what the image says, by the rules of Kubernetes.

use ebbtide_driver::RootImage;
use ebbtide_model::{Command, SandboxSpec};

use crate::ImageDefaults;

/// Where commands start in an image that says nothing about it.
const ROOT_DIRECTORY: &str = "/";

/// The main command, whose environment and directory are those of every other command too. An empty `argv` idles.
pub(super) fn main(spec: &SandboxSpec, image: &ImageDefaults, root: &RootImage) -> Command {
    let mut env: std::collections::BTreeMap<String, String> = image.env.iter().cloned().collect();
    env.extend(spec.main.env.clone());
    let asked = spec.main.working_dir.clone().or_else(|| image.working_dir.clone());
    let working_dir = match root {
        RootImage::Host => asked,
        RootImage::Layers(_) => asked.or_else(|| Some(ROOT_DIRECTORY.to_owned())),
    };
    Command { argv: argv(spec, image), env, working_dir }
}

/// A command stands for entrypoint and arguments of the image, arguments alone for those of the image.
fn argv(spec: &SandboxSpec, image: &ImageDefaults) -> Vec<String> {
    if spec.must_idle() {
        return Vec::new();
    }
    if !spec.main.argv.is_empty() {
        return spec.main.argv.clone();
    }
    let args = if spec.args.is_empty() { &image.cmd } else { &spec.args };
    image.entrypoint.iter().chain(args).cloned().collect()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use ebbtide_driver::LayeredRoot;
    use ebbtide_model::{MAIN_ANNOTATION, MAIN_IDLE};

    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn layers() -> RootImage {
        RootImage::Layers(LayeredRoot { store: PathBuf::new(), layers: Vec::new(), hold: PathBuf::new() })
    }

    fn image(entrypoint: &str, cmd: &str) -> ImageDefaults {
        ImageDefaults { entrypoint: words(entrypoint), cmd: words(cmd), ..ImageDefaults::default() }
    }

    fn spec(command: &str, args: &str) -> SandboxSpec {
        let mut spec = SandboxSpec::new("image");
        spec.main.argv = words(command);
        spec.args = words(args);
        spec
    }

    #[test]
    fn command_and_arguments_replace_those_of_the_image_as_in_kubernetes() {
        for (entrypoint, cmd, command, args, runs) in [
            ("entry e", "cmd c", "", "", "entry e cmd c"),
            ("entry e", "cmd c", "mine m", "", "mine m"),
            ("entry e", "cmd c", "", "a b", "entry e a b"),
            ("", "cmd c", "", "", "cmd c"),
            ("", "cmd c", "", "a b", "a b"),
            ("entry", "", "", "", "entry"),
            ("", "", "", "", ""),
            ("", "", "mine", "", "mine"),
        ] {
            let runs_now = main(&spec(command, args), &image(entrypoint, cmd), &layers()).argv;
            assert_eq!(runs_now, words(runs), "{entrypoint:?} {cmd:?} {command:?} {args:?}");
        }
    }

    #[test]
    fn a_sandbox_that_is_to_idle_does_so_whatever_its_image_says() {
        let mut idle = spec("", "");
        idle.annotations.insert(MAIN_ANNOTATION.to_owned(), MAIN_IDLE.to_owned());
        assert!(main(&idle, &image("entry", "cmd"), &layers()).argv.is_empty());
    }

    #[test]
    fn the_requests_environment_and_directory_go_before_the_images() {
        let says = ImageDefaults {
            env: vec![("A".into(), "image".into()), ("B".into(), "image".into())],
            working_dir: Some("/image".into()),
            ..ImageDefaults::default()
        };
        let mut asked = spec("", "");
        asked.main.env.insert("B".into(), "mine".into());
        let merged = main(&asked, &says, &layers());
        assert_eq!((merged.env["A"].as_str(), merged.env["B"].as_str()), ("image", "mine"));
        assert_eq!(merged.working_dir.as_deref(), Some("/image"));
        asked.main.working_dir = Some("/mine".into());
        assert_eq!(main(&asked, &says, &layers()).working_dir.as_deref(), Some("/mine"));
    }

    #[test]
    fn an_image_without_a_directory_starts_at_the_top_and_the_host_where_it_always_did() {
        let nothing = ImageDefaults::default();
        assert_eq!(main(&spec("", ""), &nothing, &layers()).working_dir.as_deref(), Some("/"));
        assert_eq!(main(&spec("", ""), &nothing, &RootImage::Host).working_dir, None);
    }
}
