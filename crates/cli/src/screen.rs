//! The live view of a training in the terminal (`--tui`): loss, accuracy, speed, time left, the size of gradients.
//!
//! The terminal stays in its usual mode: Ctrl-C asks the run to end, as it does without the view.

use std::{
    io::{self, IsTerminal, Stderr},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use byhand_report::{Epoch, TensorRecord};
use byhand_trainer::Event;
use ratatui::{
    Frame, Terminal,
    backend::CrosstermBackend,
    crossterm::{
        cursor::{Hide, Show},
        execute,
        terminal::{EnterAlternateScreen, LeaveAlternateScreen},
    },
    layout::{Constraint, Layout, Rect},
    style::{Color, Style, Stylize},
    symbols::Marker,
    text::{Line, Span},
    widgets::{Axis, Bar, BarChart, Block, Chart, Dataset, Gauge, GraphType, Paragraph},
};

use crate::{exit::usage, watcher::Onlooker};

/// Places of a curve.
type Points = Vec<(f64, f64)>;

/// What is shown.
#[derive(Debug, Default)]
struct State {
    title: String,
    /// Images trained on, and those of the whole run.
    images: u64,
    all: u64,
    epoch: u64,
    epochs: u64,
    images_per_second: f64,
    left: Duration,
    /// Epochs done and the loss of the minibatches since the point before.
    losses: Points,
    /// Epochs done and the accuracy, in training and after the epoch.
    train_accuracy: Points,
    test_accuracy: Points,
    /// What the second one was measured on.
    evaluated: &'static str,
    /// Each weight tensor's name and the size of its gradient.
    gradients: Vec<(String, f64)>,
}

impl State {
    /// Draws it.
    fn draw(&self, frame: &mut Frame<'_>) {
        let [head, curves, gradients] = Layout::vertical([
            Constraint::Length(3),
            Constraint::Min(8),
            Constraint::Length(self.gradient_lines() + 2),
        ])
        .areas(frame.area());
        let [loss, accuracy] = Layout::horizontal([Constraint::Fill(1); 2]).areas(curves);
        self.progress(frame, head);
        self.chart(frame, loss, "loss", &[("training", Color::Cyan, &self.losses)], |loss| {
            format!("{loss:.3}")
        });
        let series = [
            ("training", Color::Cyan, &self.train_accuracy),
            (self.evaluated, Color::Yellow, &self.test_accuracy),
        ];
        self.chart(frame, accuracy, "accuracy", &series, |share| format!("{:.1} %", 100.0 * share));
        self.gradients(frame, gradients);
    }

    fn gradient_lines(&self) -> u16 {
        self.gradients.len().clamp(1, 8) as u16
    }

    fn progress(&self, frame: &mut Frame<'_>, area: Rect) {
        let seconds = self.left.as_secs();
        let epoch = format!("epoch {}/{}", self.epoch, self.epochs);
        let left = format!("{}:{:02} left", seconds / 60, seconds % 60);
        let whole = format!("{epoch}   {:.0} images/s   {left}", self.images_per_second);
        let has_room = whole.len() + 2 <= area.width.into();
        let label = if has_room { whole } else { format!("{epoch}   {left}") };
        let ratio = (self.images as f64 / self.all.max(1) as f64).clamp(0.0, 1.0);
        let gauge = Gauge::default().gauge_style(Style::new().fg(Color::Blue)).ratio(ratio).label(label);
        frame.render_widget(gauge.block(Block::bordered().title(self.title.as_str())), area);
    }

    fn chart(
        &self,
        frame: &mut Frame<'_>,
        area: Rect,
        title: &str,
        series: &[(&str, Color, &Points)],
        text: fn(f64) -> String,
    ) {
        let numbers = || {
            series
                .iter()
                .flat_map(|(.., points)| points.iter().map(|point| point.1))
                .filter(|number| number.is_finite())
        };
        let (low, high) =
            (numbers().fold(f64::INFINITY, f64::min), numbers().fold(f64::NEG_INFINITY, f64::max));
        let block = Block::bordered();
        if low > high {
            frame.render_widget(Paragraph::new("nothing yet").block(block.title(title)), area);
            return;
        }
        let last =
            series.iter().filter_map(|(name, colour, points)| Some((*name, *colour, text(points.last()?.1))));
        let title = heading(title, &last.collect::<Vec<_>>(), area.width.saturating_sub(2).into());
        let high = if high > low { high } else { low + 1e-3 };
        let end = self.epochs.max(1) as f64;
        // Narrow charts cut off what is longer.
        let end_label = if area.width < 36 { end.to_string() } else { format!("{end} epochs") };
        let sets = series.iter().filter(|(.., points)| !points.is_empty()).map(|(_, colour, points)| {
            Dataset::default()
                .marker(Marker::Braille)
                .graph_type(GraphType::Line)
                .style(Style::new().fg(*colour))
                .data(points)
        });
        let chart = Chart::new(sets.collect())
            .block(block.title(title))
            .x_axis(Axis::default().bounds([0.0, end]).labels(["0".to_string(), end_label]))
            .y_axis(Axis::default().bounds([low, high]).labels([text(low), text(high)]));
        frame.render_widget(chart, area);
    }

    fn gradients(&self, frame: &mut Frame<'_>, area: Rect) {
        let block = Block::bordered().title("norm of the gradient, by tensor");
        if self.gradients.is_empty() {
            frame.render_widget(Paragraph::new(Line::from("in a moment").dim()).block(block), area);
            return;
        }
        // On a scale of logarithms from a ten-thousandth of the largest.
        let most = self.gradients.iter().map(|(_, norm)| *norm).fold(f64::MIN_POSITIVE, f64::max);
        let bars = self.gradients.iter().take(self.gradient_lines().into()).map(|(name, norm)| {
            let share = (1.0 + (norm / most).max(1e-4).log10() / 4.0).clamp(0.0, 1.0);
            Bar::default()
                .label(Line::from(name.as_str()))
                .value((1000.0 * share) as u64)
                .text_value(format!("{norm:.2e}"))
        });
        let chart = BarChart::horizontal(bars.collect::<Vec<_>>())
            .bar_gap(0)
            .max(1000)
            .bar_style(Style::new().fg(Color::Blue));
        frame.render_widget(chart.block(block), area);
    }
}

/// What a chart is called, in so many columns: its title, and each curve's name and last number in the colour of the curve. Where that is too
/// much, several curves go without the title, or the title with the last curve's number alone.
fn heading(title: &str, curves: &[(&str, Color, String)], room: usize) -> Line<'static> {
    let mut named: Vec<Span<'static>> = Vec::new();
    for (name, colour, number) in curves {
        let comma = if named.is_empty() { "" } else { ", " };
        named.extend([Span::raw(comma), Span::styled(format!("{name} {number}"), *colour)]);
    }
    let mut whole = vec![Span::raw(format!("{title}: "))];
    whole.extend(named.iter().cloned());
    let short = curves.last().map(|(_, colour, number)| Span::styled(format!("{title} {number}"), *colour));
    let shortest = Line::from(short.unwrap_or_default());
    let named = (curves.len() > 1).then_some(Line::from(named));
    [Some(Line::from(whole)), named]
        .into_iter()
        .flatten()
        .find(|line| line.width() <= room)
        .unwrap_or(shortest)
}

/// Whether the terminal is taken. There is one.
static IS_OPEN: AtomicBool = AtomicBool::new(false);

/// The terminal, with the view on it until this is dropped.
pub struct Screen {
    terminal: Terminal<CrosstermBackend<Stderr>>,
    state: State,
    /// Images trained on in this process, and since when.
    images: u64,
    begun: Instant,
    drawn: Option<Instant>,
    /// When the gradients were looked at.
    looked: Instant,
    /// The sum of the losses since the last point, and how many they are.
    sum: (f64, u32),
}

impl Screen {
    /// How often it is drawn, and gradients are looked at.
    const DRAW: Duration = Duration::from_millis(100);
    const LOOK: Duration = Duration::from_secs(2);
    /// Points of the curve of losses.
    const POINTS: usize = 400;

    /// That there is a terminal.
    pub fn check() -> Result<()> {
        if io::stderr().is_terminal() {
            return Ok(());
        }
        Err(usage("--tui: expected a terminal on stderr, found none; leave it out"))
    }

    /// Takes the terminal.
    pub fn open(title: String, epochs: u64) -> Result<Self> {
        Self::check()?;
        let open = || {
            execute!(io::stderr(), EnterAlternateScreen, Hide)?;
            let mut terminal = Terminal::new(CrosstermBackend::new(io::stderr()))?;
            terminal.clear()?;
            io::Result::Ok(terminal)
        };
        IS_OPEN.store(true, Ordering::SeqCst);
        let terminal = open().inspect_err(|_| Self::leave()).context("cannot draw on the terminal")?;
        let state = State { title, epochs, ..State::default() };
        let now = Instant::now();
        Ok(Self { terminal, state, images: 0, begun: now, drawn: None, looked: now, sum: (0.0, 0) })
    }

    /// Gives the terminal back, if it was taken: also to be called by who ends the process before this is dropped.
    pub fn leave() {
        if IS_OPEN.swap(false, Ordering::SeqCst) {
            let _ = execute!(io::stderr(), LeaveAlternateScreen, Show);
        }
    }

    /// A step was done. Whether it is time to look at the gradients.
    fn step(&mut self, epoch: u64, samples: u64, loss: f64) -> bool {
        let state = &mut self.state;
        self.images += samples;
        (state.epoch, state.images) = (epoch, state.images + samples);
        self.sum = (self.sum.0 + loss, self.sum.1 + 1);
        if self.drawn.is_some_and(|drawn| drawn.elapsed() < Self::DRAW) {
            return false;
        }
        let done = state.images as f64 / state.all.max(1) as f64;
        state.losses.push((done * state.epochs as f64, self.sum.0 / f64::from(self.sum.1)));
        self.sum = (0.0, 0);
        if state.losses.len() > Self::POINTS {
            // Every second one: the curve keeps its form.
            let mut keep = false;
            state.losses.retain(|_| {
                keep = !keep;
                keep
            });
        }
        state.images_per_second = self.images as f64 / self.begun.elapsed().as_secs_f64().max(1e-9);
        let left = state.all.saturating_sub(state.images) as f64 / state.images_per_second.max(1e-9);
        state.left = Duration::from_secs_f64(left.min(1e9));
        self.draw();
        let is_time = self.looked.elapsed() >= Self::LOOK;
        if is_time {
            self.looked = Instant::now();
        }
        is_time
    }

    fn draw(&mut self) {
        self.drawn = Some(Instant::now());
        // A terminal that cannot be drawn on holds nothing up.
        let _ = self.terminal.draw(|frame| self.state.draw(frame));
    }
}

impl Onlooker for Screen {
    fn on(&mut self, event: &Event) -> bool {
        match event {
            Event::Started { train_samples, total_steps, steps_done, .. } => {
                let all = self.state.epochs.saturating_mul(*train_samples as u64);
                let done = (all as f64 * *steps_done as f64 / (*total_steps).max(1) as f64) as u64;
                (self.state.images, self.state.all, self.begun) = (done, all, Instant::now());
                false
            }
            Event::Step { epoch, samples, loss, .. } => self.step(*epoch, *samples as u64, *loss),
            _ => false,
        }
    }

    fn gradients(&mut self, tensors: &[TensorRecord]) {
        let weights = tensors.iter().filter(|tensor| tensor.name.ends_with(".weight"));
        self.state.gradients = weights.map(|tensor| (tensor.name.clone(), tensor.gradients.norm)).collect();
    }

    fn epoch(&mut self, epoch: &Epoch, _: &[TensorRecord], _: &[f32]) -> Result<()> {
        let state = &mut self.state;
        let at = |accuracy: f64| (epoch.epoch as f64, accuracy);
        state.train_accuracy.extend(epoch.train_accuracy.map(at));
        state.evaluated = if epoch.validation_accuracy.is_some() { "validation" } else { "test" };
        state.test_accuracy.extend(epoch.validation_accuracy.or(epoch.test_accuracy).map(at));
        self.draw();
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        Self::leave();
    }
}

#[cfg(test)]
mod tests {
    use ratatui::backend::TestBackend;

    use super::*;

    #[test]
    fn the_view_says_what_it_knows() {
        let mut state = State {
            title: "cnn on mnist".into(),
            images: 30,
            all: 120,
            epoch: 2,
            epochs: 4,
            images_per_second: 1234.0,
            left: Duration::from_secs(75),
            evaluated: "test",
            ..State::default()
        };
        let drawn = |state: &State, width, height| {
            let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
            terminal.draw(|frame| state.draw(frame)).unwrap();
            let buffer = terminal.backend().buffer().clone();
            buffer
                .content()
                .chunks(width.into())
                .map(|row| row.iter().map(|cell| cell.symbol()).collect::<String>())
                .collect::<Vec<_>>()
                .join("\n")
        };
        let early = drawn(&state, 100, 30);
        for words in ["cnn on mnist", "epoch 2/4", "1234 images/s", "1:15 left", "nothing yet", "in a moment"]
        {
            assert!(early.contains(words), "{words}:\n{early}");
        }
        state.losses = vec![(0.1, 2.3), (1.0, 0.5), (1.5, f64::NAN)];
        state.train_accuracy = vec![(1.0, 0.75)];
        state.test_accuracy = vec![(1.0, 0.9)];
        state.gradients = vec![("0.weight".into(), 0.25), ("3.weight".into(), 0.0)];
        let later = drawn(&state, 100, 30);
        for words in ["accuracy: training 75.0 %, test 90.0 %", "4 epochs", "0.weight", "2.50e-1", "0.00e0"] {
            assert!(later.contains(words), "{words}:\n{later}");
        }
        let narrow = drawn(&state, 36, 15);
        for words in ["epoch 2/4   1:15 left", "accuracy 90.0 %", " 4│"] {
            assert!(narrow.contains(words), "{words}:\n{narrow}");
        }
        // However small the terminal is.
        for (width, height) in [(1, 1), (20, 5), (300, 80)] {
            drawn(&state, width, height);
        }
    }
}
