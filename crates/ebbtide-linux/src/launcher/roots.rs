//! The roots that slots are made with: the host's own, and those of images that were claimed lately.
//!
//! A slot has its root from the start, so it can only be given to a sandbox of the same image. Slots of the host's
//! root are always kept ahead; of an image only for a while after it was last claimed.

use std::rc::Rc;
use std::time::{Duration, Instant};

use ebbtide_driver::RootImage;

use crate::root::Layers;

/// How long after its last claim slots of an image are kept ahead.
const WARM: Duration = Duration::from_secs(60);
/// Of how many images at most.
const MOST_WARM: usize = 4;

/// A root that slots are made with. There is one of each image, so two are the same if they are one.
#[derive(Debug)]
pub(super) struct SlotRoot {
    pub(super) image: RootImage,
    pub(super) layers: Layers,
}

struct Known {
    root: Rc<SlotRoot>,
    claimed: Instant,
    /// How many slots have failed since one was ready.
    failures: u32,
}

pub(super) struct Roots {
    host: Known,
    /// The most recently claimed first.
    images: Vec<Known>,
}

impl Roots {
    pub(super) fn new(host: Layers) -> Self {
        let root = Rc::new(SlotRoot { image: RootImage::Host, layers: host });
        Self { host: Known { root, claimed: Instant::now(), failures: 0 }, images: Vec::new() }
    }

    /// The root of an image that a sandbox is to be made of.
    pub(super) fn claim(&mut self, image: &RootImage) -> Rc<SlotRoot> {
        let RootImage::Layers(layers) = image else { return Rc::clone(&self.host.root) };
        let claimed = Instant::now();
        let known = match self.images.iter().position(|known| known.root.image == *image) {
            Some(index) => Known { claimed, ..self.images.remove(index) },
            None => {
                let root = Rc::new(SlotRoot { image: image.clone(), layers: Layers::of(layers) });
                Known { root, claimed, failures: 0 }
            }
        };
        let root = Rc::clone(&known.root);
        self.images.insert(0, known);
        // One that a slot still has stays the only one of its image.
        let mut rank = 0;
        self.images.retain(|known| {
            rank += 1;
            rank <= MOST_WARM || Rc::strong_count(&known.root) > 1
        });
        root
    }

    /// The roots whose slots are kept for those who may come.
    pub(super) fn warm(&self) -> impl Iterator<Item = &Rc<SlotRoot>> {
        self.all_warm().map(|known| &known.root)
    }

    /// The roots to make slots of ahead. After failures slots are made for those who wait only, so that a broken host
    /// is not kept busy.
    pub(super) fn made_ahead(&self) -> impl Iterator<Item = &Rc<SlotRoot>> {
        self.all_warm().filter(|known| known.failures == 0).map(|known| &known.root)
    }

    fn all_warm(&self) -> impl Iterator<Item = &Known> {
        let images = self.images.iter().take(MOST_WARM).filter(|known| known.claimed.elapsed() < WARM);
        [&self.host].into_iter().chain(images)
    }

    /// How long until one of them is no longer to be kept.
    pub(super) fn next_cold(&self) -> Option<Duration> {
        let images = self.images.iter().take(MOST_WARM);
        images.filter_map(|known| WARM.checked_sub(known.claimed.elapsed())).min()
    }

    /// Takes note of a slot that is ready.
    pub(super) fn made(&mut self, root: &Rc<SlotRoot>) {
        self.with(root, |known| known.failures = 0);
    }

    /// Takes note of a slot that failed; answers how many have in a row.
    pub(super) fn failed(&mut self, root: &Rc<SlotRoot>) -> u32 {
        let mut failures = 0;
        self.with(root, |known| {
            known.failures += 1;
            failures = known.failures;
        });
        failures
    }

    fn with(&mut self, root: &Rc<SlotRoot>, change: impl FnOnce(&mut Known)) {
        let all = [&mut self.host].into_iter().chain(&mut self.images);
        if let Some(known) = all.into_iter().find(|known| Rc::ptr_eq(&known.root, root)) {
            change(known);
        }
    }
}

#[cfg(test)]
mod tests {
    use ebbtide_driver::LayeredRoot;

    use super::*;

    fn roots() -> Roots {
        Roots::new(Layers { store: "/".into(), names: Vec::new(), shown: Vec::new() })
    }

    fn image(number: usize) -> RootImage {
        let hold = format!("/images/{number}").into();
        RootImage::Layers(LayeredRoot { store: "/layers".into(), layers: vec!["base".to_owned()], hold })
    }

    #[test]
    fn the_host_and_the_images_claimed_last_are_kept_ahead() {
        let mut roots = roots();
        let first = roots.claim(&image(0));
        for number in 1..MOST_WARM {
            roots.claim(&image(number));
        }
        assert!(Rc::ptr_eq(&first, &roots.claim(&image(0))), "claimed again, so the last one now");
        roots.claim(&image(MOST_WARM));
        let warm: Vec<_> = roots.warm().map(|root| root.image.clone()).collect();
        assert_eq!(warm, [RootImage::Host, image(MOST_WARM), image(0), image(3), image(2)]);
        assert!(Rc::ptr_eq(&first, &roots.claim(&image(0))), "a slot may still have it");
    }

    #[test]
    fn no_slots_are_made_ahead_of_an_image_whose_slots_fail_until_one_is_ready() {
        let mut roots = roots();
        let root = roots.claim(&image(0));
        assert_eq!((roots.failed(&root), roots.failed(&root)), (1, 2));
        assert_eq!((roots.made_ahead().count(), roots.warm().count()), (1, 2));
        roots.made(&root);
        assert_eq!(roots.made_ahead().count(), 2);
        assert!(roots.next_cold().is_some_and(|left| left <= WARM));
    }
}
