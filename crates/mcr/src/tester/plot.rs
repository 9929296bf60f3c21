//! Plots as SVG: how lines are drawn, whatever they are of.

use std::path::Path;

use plotters::coord::ranged1d::ValueFormatter;
use plotters::prelude::*;

use super::error::TesterError;
use super::mark::{Canvas, Look};
use super::table::whole;
use super::ticks::Across;
use crate::replace::replace;

/// The plot, without its key.
const SIZE: (u32, u32) = (760, 540);

/// The key at the right: its first line, the distance of lines, and how many one column has.
const KEY_TOP: i32 = 60;
const KEY_STEP: i32 = 24;
const KEY_ROWS: usize = 18;

/// Its least width, what is before a name, and the width of a letter, which differs with the viewer's font.
const KEY_LEAST: u32 = 320;
const KEY_LINE: i32 = 44;
const LETTER: i32 = 8;

/// Below the key where there is such a point.
const HOLLOW: &str = "hollow: at least this, not the device's limit";

const FONT: &str = "sans-serif";

/// One line of a plot.
#[derive(Debug, Clone)]
pub struct Line {
    /// What the key calls it.
    pub name: String,
    /// Its points, in any order.
    pub points: Vec<Point>,
}

/// One point, in the units of the axes.
#[derive(Debug, Clone, Copy)]
pub struct Point {
    /// Across.
    pub x: f64,
    /// Up.
    pub y: f64,
    /// The lowest and the highest of y, where there is a spread.
    pub range: Option<(f64, f64)>,
    /// Whether y is no more than a lower bound, as something else than what is measured was the limit: a hollow marker.
    pub at_least: bool,
}

impl Point {
    /// How far up there is something to draw.
    fn top(&self) -> f64 {
        self.range.map_or(self.y, |(_, highest)| highest)
    }
}

/// What a plot shows, and in what units.
#[derive(Debug, Clone)]
pub struct Frame<'a> {
    /// Above it.
    pub title: String,
    /// The quantity and unit across.
    pub x: &'a str,
    /// Those up.
    pub y: &'a str,
    /// Whether y is logarithmic.
    pub logarithmic: bool,
}

/// Draws lines as SVG; nothing where there is no point.
///
/// # Errors
/// When it cannot be written.
pub fn plot(path: &Path, frame: &Frame<'_>, lines: &mut [Line]) -> Result<(), TesterError> {
    if lines.iter().all(|line| line.points.is_empty()) {
        return Ok(());
    }
    for line in &mut *lines {
        line.points.sort_by(|a, b| a.x.total_cmp(&b.x));
    }
    let mut svg = String::new();
    draw(&mut svg, frame, lines).map_err(|error| TesterError::Plot(path.to_owned(), error.to_string()))?;
    replace(path, svg.as_bytes()).map_err(|error| TesterError::Write(path.to_owned(), error))
}

fn draw(svg: &mut String, frame: &Frame<'_>, lines: &[Line]) -> Result<(), Box<dyn std::error::Error>> {
    let size = (SIZE.0 + key_width(lines), SIZE.1);
    let whole_area = SVGBackend::with_string(svg, size).into_drawing_area();
    whole_area.fill(&WHITE)?;
    let (area, key) = whole_area.split_horizontally(SIZE.0);
    let points = || lines.iter().flat_map(|line| &line.points);
    let (x_min, x_max) = bounds(points().map(|point| point.x));
    let (_, y_max) = bounds(points().map(Point::top));
    let (y_min, _) = bounds(points().map(|point| point.y));
    let mut builder = ChartBuilder::on(&area);
    builder.caption(&frame.title, (FONT, 22)).margin(16).x_label_area_size(52).y_label_area_size(92);
    if frame.logarithmic {
        let y = (y_min.max(0.1) * 0.7..y_max.max(0.2) * 1.5).log_scale();
        lines_on(builder.build_cartesian_2d(Across::new(x_min, x_max), y)?, frame, lines, &whole_area)?;
    } else {
        lines_on(
            builder.build_cartesian_2d(Across::new(x_min, x_max), 0.0..y_max.max(1.0) * 1.1)?,
            frame,
            lines,
            &whole_area,
        )?;
    }
    draw_key(&key, lines)?;
    whole_area.present()?;
    Ok(())
}

/// Pixels that the whole key takes across: it has as many columns as it needs, each as wide as its longest name.
fn key_width(lines: &[Line]) -> u32 {
    let columns = lines.chunks(KEY_ROWS).map(column_width).sum::<i32>();
    u32::try_from(columns).unwrap_or_default().max(KEY_LEAST)
}

fn column_width(lines: &[Line]) -> i32 {
    let letters = lines.iter().map(|line| line.name.chars().count()).max().unwrap_or_default();
    KEY_LINE + i32::try_from(letters).unwrap_or_default() * LETTER
}

/// Which line is which, beside the plot, where it hides no point.
fn draw_key(canvas: &Canvas<'_>, lines: &[Line]) -> Result<(), Box<dyn std::error::Error>> {
    let mut x = 0;
    for (column, names) in lines.chunks(KEY_ROWS).enumerate() {
        for (row, line) in names.iter().enumerate() {
            let look = Look::of(column * KEY_ROWS + row);
            let y = KEY_TOP + row as i32 * KEY_STEP;
            look.line(canvas, vec![(x, y), (x + KEY_LINE - 8, y)])?;
            look.marker(canvas, (x + (KEY_LINE - 8) / 2, y), false)?;
            canvas.draw(&Text::new(line.name.clone(), (x + KEY_LINE, y - 8), (FONT, 15)))?;
        }
        x += column_width(names);
    }
    if lines.iter().flat_map(|line| &line.points).any(|point| point.at_least) {
        canvas.draw(&Text::new(HOLLOW, (0, KEY_TOP + KEY_ROWS as i32 * KEY_STEP - 8), (FONT, 15)))?;
    }
    Ok(())
}

type Chart<'a, Y> = ChartContext<'a, SVGBackend<'a>, Cartesian2d<Across, Y>>;

fn lines_on<'a, Y>(
    mut chart: Chart<'a, Y>,
    frame: &Frame<'_>,
    lines: &[Line],
    canvas: &Canvas<'a>,
) -> Result<(), Box<dyn std::error::Error>>
where
    Y: Ranged<ValueType = f64> + ValueFormatter<f64> + 'a,
{
    let label = |value: &f64| {
        if *value < 10.0 && value.fract() > 0.0 { format!("{value:.1}") } else { whole(*value) }
    };
    chart
        .configure_mesh()
        .x_desc(frame.x)
        .y_desc(frame.y)
        .y_labels(8)
        .x_label_formatter(&label)
        .y_label_formatter(&label)
        .label_style((FONT, 15))
        .axis_desc_style((FONT, 17))
        .light_line_style(TRANSPARENT)
        .draw()?;
    for (at, line) in lines.iter().enumerate() {
        let look = Look::of(at);
        let pixel = |x: f64, y: f64| chart.backend_coord(&(x, y));
        look.line(canvas, line.points.iter().map(|point| pixel(point.x, point.y)).collect())?;
        for point in &line.points {
            if let Some((lowest, _)) = point.range {
                look.range(canvas, [pixel(point.x, lowest), pixel(point.x, point.top())])?;
            }
            look.marker(canvas, pixel(point.x, point.y), point.at_least)?;
        }
    }
    Ok(())
}

fn bounds(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, 0.0), |(low, high), value| (low.min(value), high.max(value)))
}

#[cfg(test)]
mod tests;
