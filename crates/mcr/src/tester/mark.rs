//! How a plot's lines are told apart: by colour, then by marker and dashes.

use plotters::coord::Shift;
use plotters::element::DashedPathElement;
use plotters::prelude::{
    Circle, Color as _, DrawingArea, PathElement, Polygon, RGBColor, SVGBackend, ShapeStyle, WHITE,
};

/// Lines told apart also without colour vision (Okabe and Ito 2008).
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(0, 0, 0),
];

/// Corners in pixels from the point; without any it is a circle.
const MARKERS: [&[Pixel]; 5] = [
    &[],
    &[(-4, -4), (4, -4), (4, 4), (-4, 4)],
    &[(0, -6), (5, 4), (-5, 4)],
    &[(0, -6), (6, 0), (0, 6), (-6, 0)],
    &[(0, 6), (5, -4), (-5, -4)],
];

/// A dash and the gap after it in pixels; without either the line is whole.
const DASHES: [Option<(i32, i32)>; 3] = [None, Some((10, 5)), Some((3, 4))];

const RADIUS: i32 = 4;
const WIDTH: u32 = 2;

/// What is drawn on, in pixels.
pub(super) type Canvas<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// A place on it.
pub(super) type Pixel = (i32, i32);

type Drawn = Result<(), Box<dyn std::error::Error>>;

/// How a line is drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Look {
    colour: RGBColor,
    marker: &'static [Pixel],
    dash: Option<(i32, i32)>,
}

impl Look {
    /// Of the line of this number: no two of the first ninety are the same.
    pub(super) fn of(line: usize) -> Self {
        let round = line / COLOURS.len();
        Self {
            colour: COLOURS[line % COLOURS.len()],
            marker: MARKERS[round % MARKERS.len()],
            // Numbers of dashes and markers have no common factor, so their pairs differ as long as they can.
            dash: DASHES[round % DASHES.len()],
        }
    }

    /// Draws the line.
    pub(super) fn line(self, canvas: &Canvas<'_>, points: Vec<Pixel>) -> Drawn {
        match self.dash {
            None => canvas.draw(&PathElement::new(points, self.stroke()))?,
            Some((dash, gap)) => canvas.draw(&DashedPathElement::new(points, dash, gap, self.stroke()))?,
        }
        Ok(())
    }

    /// Draws how far repeats of a point are apart.
    pub(super) fn range(self, canvas: &Canvas<'_>, ends: [Pixel; 2]) -> Drawn {
        Ok(canvas.draw(&PathElement::new(ends, self.stroke()))?)
    }

    /// Draws a point; hollow ones are white within, also where its line runs.
    pub(super) fn marker(self, canvas: &Canvas<'_>, at: Pixel, hollow: bool) -> Drawn {
        let fill = if hollow { WHITE.filled() } else { self.colour.filled() };
        match self.marker {
            [] => {
                canvas.draw(&Circle::new(at, RADIUS, fill))?;
                canvas.draw(&Circle::new(at, RADIUS, self.stroke()))?;
            }
            corners => {
                let corners: Vec<_> =
                    corners.iter().map(|corner| (at.0 + corner.0, at.1 + corner.1)).collect();
                canvas.draw(&Polygon::new(corners.clone(), fill))?;
                let around = corners.iter().chain(&corners[..1]).copied();
                canvas.draw(&PathElement::new(around.collect::<Vec<_>>(), self.stroke()))?;
            }
        }
        Ok(())
    }

    fn stroke(self) -> ShapeStyle {
        self.colour.stroke_width(WIDTH)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_look_different() {
        let looks: Vec<_> = (0..90).map(Look::of).collect();
        for (at, look) in looks.iter().enumerate() {
            assert!(!looks[..at].contains(look), "line {at} looks as one before it");
        }
    }
}
