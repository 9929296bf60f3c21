//! Plots as SVG: how lines are drawn, whatever they are of.

use std::path::Path;

use plotters::coord::Shift;
use plotters::coord::ranged1d::ValueFormatter;
use plotters::prelude::*;

use super::error::TesterError;
use super::table::whole;

const SIZE: (u32, u32) = (1000, 540);

/// The key's place at the right: its width, its first line and the distance of lines.
const KEY_WIDTH: u32 = 240;
const KEY_TOP: i32 = 60;
const KEY_STEP: i32 = 24;

const FONT: &str = "sans-serif";

/// Lines told apart also without colour vision (Okabe and Ito 2008).
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(0, 0, 0),
];

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
    draw(path, frame, lines).map_err(|error| TesterError::Plot(path.to_owned(), error.to_string()))
}

fn draw(path: &Path, frame: &Frame<'_>, lines: &[Line]) -> Result<(), Box<dyn std::error::Error>> {
    let whole_area = SVGBackend::new(path, SIZE).into_drawing_area();
    whole_area.fill(&WHITE)?;
    let (area, key) = whole_area.split_horizontally(SIZE.0 - KEY_WIDTH);
    let points = || lines.iter().flat_map(|line| &line.points);
    let (x_min, x_max) = bounds(points().map(|point| point.x));
    let tops = points().map(|point| point.range.map_or(point.y, |(_, highest)| highest));
    let (_, y_max) = bounds(tops);
    let (y_min, _) = bounds(points().map(|point| point.y));
    let margin = (x_max - x_min).max(x_max * 0.1) * 0.05;
    let x = (x_min - margin).max(0.0)..x_max + margin;
    let mut builder = ChartBuilder::on(&area);
    builder.caption(&frame.title, (FONT, 22)).margin(16).x_label_area_size(52).y_label_area_size(92);
    if frame.logarithmic {
        let y = (y_min.max(0.1) * 0.7..y_max.max(0.2) * 1.5).log_scale();
        lines_on(builder.build_cartesian_2d(x, y)?, frame, lines)?;
    } else {
        lines_on(builder.build_cartesian_2d(x, 0.0..y_max.max(1.0) * 1.1)?, frame, lines)?;
    }
    draw_key(&key, lines)?;
    whole_area.present()?;
    Ok(())
}

/// Which line is which, beside the plot, where it hides no point.
fn draw_key(
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    lines: &[Line],
) -> Result<(), Box<dyn std::error::Error>> {
    for ((line, colour), row) in lines.iter().zip(COLOURS.iter().cycle()).zip(0..) {
        let y = KEY_TOP + row * KEY_STEP;
        area.draw(&PathElement::new([(0, y), (22, y)], colour.stroke_width(2)))?;
        area.draw(&Text::new(line.name.clone(), (28, y - 8), (FONT, 15)))?;
    }
    Ok(())
}

type Chart<'a, Y> = ChartContext<'a, SVGBackend<'a>, Cartesian2d<plotters::coord::types::RangedCoordf64, Y>>;

fn lines_on<'a, Y>(
    mut chart: Chart<'a, Y>,
    frame: &Frame<'_>,
    lines: &[Line],
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
        .x_labels(8)
        .y_labels(8)
        .x_label_formatter(&label)
        .y_label_formatter(&label)
        .label_style((FONT, 15))
        .axis_desc_style((FONT, 17))
        .light_line_style(TRANSPARENT)
        .draw()?;
    for (line, colour) in lines.iter().zip(COLOURS.iter().cycle()) {
        let style = colour.stroke_width(2);
        chart.draw_series(LineSeries::new(line.points.iter().map(|point| (point.x, point.y)), style))?;
        chart.draw_series(
            line.points.iter().map(|point| Circle::new((point.x, point.y), 4, colour.filled())),
        )?;
        let ranges = line.points.iter().filter_map(|point| point.range.map(|range| (point.x, range)));
        chart.draw_series(
            ranges.map(|(x, (lowest, highest))| PathElement::new([(x, lowest), (x, highest)], style)),
        )?;
    }
    Ok(())
}

fn bounds(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, 0.0), |(low, high), value| (low.min(value), high.max(value)))
}
