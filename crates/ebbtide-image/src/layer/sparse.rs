//! Files with holes.

use tar::{GnuExtSparseHeader, GnuSparseHeader, Header};

use super::entries::Source;
use super::pax::{decimal, malformed};
use crate::ImageError;

/// How many pieces a file may have.
const MOST_PIECES: usize = 1 << 18;
const BLOCK: u64 = 512;

/// Bytes that are there, between holes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) offset: u64,
    pub(super) length: u64,
}

/// A file with holes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sparse {
    pub(super) pieces: Vec<Piece>,
    /// How long it is, holes and all.
    pub(super) size: u64,
}

impl Sparse {
    /// Pieces whose content is `stored` bytes long, in a file of `size`.
    pub(super) fn new(pieces: Vec<Piece>, stored: u64, size: u64) -> Result<Self, ImageError> {
        let mut end = 0u64;
        let mut sum = 0u64;
        for piece in &pieces {
            let next = piece.offset.checked_add(piece.length).filter(|next| *next <= size);
            end = next
                .filter(|_| piece.offset >= end)
                .ok_or_else(|| malformed("a sparse file's pieces overlap"))?;
            sum += piece.length;
        }
        if sum != stored {
            return Err(malformed("a sparse file's pieces are not as long as its content"));
        }
        Ok(Self { pieces, size })
    }

    /// As the oldest kind of header tells it, and those that follow it in the stream.
    pub(super) fn gnu(
        header: &Header,
        stored: u64,
        source: &mut Source<impl std::io::BufRead>,
    ) -> Result<Self, ImageError> {
        let gnu = header.as_gnu().ok_or_else(|| malformed("a sparse file's header is not GNU's"))?;
        let mut pieces = Vec::new();
        take(&gnu.sparse, &mut pieces)?;
        let mut goes_on = gnu.is_extended();
        let mut headers = 0;
        while goes_on {
            headers += 1;
            if headers > MOST_PIECES / 21 {
                return Err(malformed("a sparse file has too many pieces"));
            }
            let mut more = GnuExtSparseHeader::new();
            source.exactly(more.as_mut_bytes())?;
            take(more.sparse(), &mut pieces)?;
            goes_on = more.is_extended();
        }
        let size = gnu.real_size().map_err(|_| malformed("a sparse file's size is none"))?;
        Self::new(pieces, stored, size)
    }

    /// As the newest way tells it: at the beginning of the content, in lines, padded to a block. Also says how many
    /// bytes of the content that has taken.
    pub(super) fn in_content(
        stored: u64,
        size: u64,
        source: &mut Source<impl std::io::BufRead>,
    ) -> Result<(Self, u64), ImageError> {
        let mut lines = Lines { block: [0; BLOCK as usize], at: BLOCK as usize, taken: 0, most: stored };
        let count = lines.number(source)?;
        let mut pieces = Vec::new();
        for _ in 0..count {
            let piece = Piece { offset: lines.number(source)?, length: lines.number(source)? };
            push(&mut pieces, piece)?;
        }
        Ok((Self::new(pieces, stored - lines.taken, size)?, lines.taken))
    }
}

fn take(headers: &[GnuSparseHeader], pieces: &mut Vec<Piece>) -> Result<(), ImageError> {
    for header in headers.iter().filter(|header| !header.is_empty()) {
        let number =
            |number: std::io::Result<u64>| number.map_err(|_| malformed("a sparse file's map is none"));
        push(pieces, Piece { offset: number(header.offset())?, length: number(header.length())? })?;
    }
    Ok(())
}

fn push(pieces: &mut Vec<Piece>, piece: Piece) -> Result<(), ImageError> {
    if pieces.len() == MOST_PIECES {
        return Err(malformed("a sparse file has too many pieces"));
    }
    pieces.push(piece);
    Ok(())
}

/// Numbers, one a line, in whole blocks.
struct Lines {
    block: [u8; BLOCK as usize],
    at: usize,
    taken: u64,
    most: u64,
}

impl Lines {
    fn number(&mut self, source: &mut Source<impl std::io::BufRead>) -> Result<u64, ImageError> {
        let mut digits = Vec::new();
        loop {
            if self.at == self.block.len() {
                if self.taken + BLOCK > self.most {
                    return Err(malformed("a sparse file's map does not end"));
                }
                source.exactly(&mut self.block)?;
                (self.at, self.taken) = (0, self.taken + BLOCK);
            }
            let byte = self.block[self.at];
            self.at += 1;
            match byte {
                b'\n' => return decimal(&digits),
                byte if digits.len() < 20 => digits.push(byte),
                _ => return Err(malformed("a number is none")),
            }
        }
    }
}
