//! What is forgotten is in no file any more.

use std::path::Path;
use std::time::Duration;

use ebbtide_model::{KEEP_ANNOTATION, StopOptions};

use super::*;
use crate::{Asked, Occasion};

/// How many of these texts are in a file below `directory`.
fn found(directory: &Path, texts: &[String]) -> usize {
    let files =
        std::fs::read_dir(directory).unwrap().map(|entry| std::fs::read(entry.unwrap().path()).unwrap());
    let all = files.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).collect::<String>();
    texts.iter().filter(|text| all.contains(text.as_str())).count()
}

#[tokio::test]
async fn the_environment_of_what_is_kept_is_in_no_file_a_moment_later_however_large_it_was() {
    let home = Home::new();
    let control = home.open().await;
    let (mut secrets, mut kept) = (Vec::new(), Vec::new());
    for number in 0..30 {
        let secret = format!("hunter2-{number}-");
        let mut spec = main(&["sleep", "600"]);
        spec.annotations.insert(KEEP_ANNOTATION.to_owned(), "always".to_owned());
        // Within a page of the file, and over several.
        spec.main.env.insert("SECRET".to_owned(), secret.repeat([1, 100, 400, 2000][number % 4]));
        secrets.push(secret);
        kept.push(running(&control, spec).await);
    }
    assert_eq!(found(home.dir.path(), &secrets), 30);
    for id in &kept {
        // Which moves its record within the file.
        control.pause(&ME, id).await.unwrap();
        control.resume(&ME, id).await.unwrap();
    }
    for id in &kept {
        let asked = Asked { by: None, occasion: Occasion::Session };
        control.stop_as(&ME, id, StopOptions::NOW, asked).await.unwrap();
    }
    let gone = async {
        while found(home.dir.path(), &secrets) > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(10), gone).await;
    assert!(in_time.is_ok(), "{} of them are still there", found(home.dir.path(), &secrets));
    control.shutdown().await.unwrap();
}
