//! A thread that owns a side of the tester and does what it is asked to, between its own turns.

use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use super::error::TesterError;

type Order<S> = Box<dyn FnOnce(&mut S) + Send>;

/// What a thread does between orders; without it the thread sleeps.
pub(super) type Turn<S> = fn(&mut S) -> Result<(), TesterError>;

/// The owner's handle: dropped, the thread ends.
#[derive(Debug)]
pub(super) struct Actor<S> {
    orders: Option<Sender<Order<S>>>,
    thread: Option<JoinHandle<()>>,
    failure: Arc<OnceLock<String>>,
}

/// An answer that is still to come.
#[derive(Debug)]
pub(super) struct Pending<T> {
    answer: Receiver<T>,
    failure: Arc<OnceLock<String>>,
}

impl<S: 'static> Actor<S> {
    /// Starts a thread whose state is what `open` makes on it.
    ///
    /// # Errors
    /// Those of `open`.
    pub(super) fn start(
        name: String,
        open: impl FnOnce() -> Result<S, TesterError> + Send + 'static,
        turn: Option<Turn<S>>,
    ) -> Result<Self, TesterError> {
        let (orders, incoming) = mpsc::channel::<Order<S>>();
        let (opened, is_open) = mpsc::channel();
        let failure = Arc::<OnceLock<String>>::default();
        let failed = Arc::clone(&failure);
        let work = move || {
            let mut state = match open() {
                Ok(state) => state,
                Err(error) => return drop(opened.send(Err(error))),
            };
            if opened.send(Ok(())).is_ok()
                && let Err(error) = serve(&mut state, &incoming, turn)
            {
                // Nobody else sets it.
                let _ = failed.set(error.to_string());
            }
        };
        let thread = std::thread::Builder::new()
            .name(name)
            .spawn(work)
            .map_err(|error| TesterError::Process("start a thread", error))?;
        match is_open.recv() {
            Ok(Ok(())) => Ok(Self { orders: Some(orders), thread: Some(thread), failure }),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(TesterError::Thread("a thread of the tester ended before it began".into())),
        }
    }

    /// Has the thread do `order` with its state, at its next turn.
    pub(super) fn ask<T: Send + 'static>(
        &self,
        order: impl FnOnce(&mut S) -> T + Send + 'static,
    ) -> Pending<T> {
        let (answering, answer) = mpsc::channel();
        let order = move |state: &mut S| {
            // Nobody waits any more: the answer is not wanted.
            let _ = answering.send(order(state));
        };
        if let Some(orders) = &self.orders {
            // A thread that has ended drops the order, and the answer's wait says so.
            let _ = orders.send(Box::new(order));
        }
        Pending { answer, failure: Arc::clone(&self.failure) }
    }
}

impl<S> Drop for Actor<S> {
    fn drop(&mut self) {
        drop(self.orders.take());
        if let Some(thread) = self.thread.take() {
            // A panic has printed itself.
            let _ = thread.join();
        }
    }
}

impl<T> Pending<T> {
    /// Waits for the answer.
    ///
    /// # Errors
    /// When the thread has ended, with its reason.
    pub(super) fn wait(&self) -> Result<T, TesterError> {
        self.answer.recv().map_err(|_| {
            let reason = self.failure.get().cloned();
            TesterError::Thread(reason.unwrap_or_else(|| "a thread of the tester ended early".into()))
        })
    }
}

/// Asks all of `actors` at once and waits for all answers, in their order.
///
/// # Errors
/// When one has ended.
pub(super) fn ask_all<S: 'static, T: Send + 'static>(
    actors: &[Actor<S>],
    order: impl Fn(usize, &mut S) -> T + Clone + Send + 'static,
) -> Result<Vec<T>, TesterError> {
    let ask = |(at, actor): (usize, &Actor<S>)| {
        let order = order.clone();
        actor.ask(move |state| order(at, state))
    };
    let pending: Vec<_> = actors.iter().enumerate().map(ask).collect();
    pending.iter().map(Pending::wait).collect()
}

fn serve<S>(state: &mut S, orders: &Receiver<Order<S>>, turn: Option<Turn<S>>) -> Result<(), TesterError> {
    let Some(turn) = turn else {
        orders.iter().for_each(|order| order(state));
        return Ok(());
    };
    loop {
        turn(state)?;
        match orders.try_recv() {
            Ok(order) => order(state),
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_done_in_turn() {
        let actors: Vec<_> =
            (0..3).map(|n| Actor::start(format!("a{n}"), move || Ok(n), None).unwrap()).collect();
        assert_eq!(ask_all(&actors, |at, state| *state + at).unwrap(), [0, 2, 4]);
        actors[0].ask(|state| *state = 9);
        assert_eq!(actors[0].ask(|state| *state).wait().unwrap(), 9);
    }

    #[test]
    fn a_thread_that_ends_says_why() {
        let refused = Actor::<u8>::start("a".into(), || Err(TesterError::Interrupted), None);
        assert!(matches!(refused, Err(TesterError::Interrupted)));
        let turn: Turn<u8> = |_| Err(TesterError::Usage("no more".into()));
        let failing = Actor::start("a".into(), || Ok(0u8), Some(turn)).unwrap();
        assert_eq!(failing.ask(|_| ()).wait().unwrap_err().to_string(), "no more");
    }
}
