"""GradientLogger: the gradients of `model.fit`, as the training step computed them.

Nothing is computed twice and no step waits. From a fit to its log, in order of time:

    on_train_begin            `logger` makes a Writer, a Listener and a Fitting.
      Fitting.begin           `train_function` has Keras make another train function,
        make_train_function   with Listener.train_step in the place of train_step; the
                              model's own is put aside.
    each batch                Keras calls it: traced once, or run eagerly.
      Listener.train_step     `listener` replaces methods for as long as this runs,
        model.train_step      then calls the model's own, in which
          layer.call            leave outputs (`tape.layer_calls`),
          compute_loss          leaves the loss and what it was computed of,
          tape.gradient         says what is differentiated, and is asked for the
                                gradients by these outputs as well,
          optimizer.apply       hands over gradients and variables, which tell the
                                networks of a GAN apart (`networks`): before it runs,
                                the Writer measures (`step_statistics`) copies that
                                leave the graph as TensorFlow would optimize it
                                (`apart`), and holds the old weights if they are to be
                                compared; after it, compares (`comparison`). Where
                                not every step is logged, a branch after it does all,
        Writer.tensors        writes outputs and their gradients,
        Writer.batch          describes the batch, now and then,
        Writer.end_step       writes the loss, and counts the step. All this is in the
                              step's graph, and goes into variables (`ring_buffers`).
    before a ring is full,    On the host, Writer.fetch empties the rings; what it
    at an epoch's ends        reads goes to the log in memory or on disk (`storage`)
                              and to Keras' `logs` (`scalars`).
    every so many steps       The log is looked at, if it is to be (`alerts`).
    on_train_end              The model gets its own train function back; so it does
                              when a step fails, or the next fit begins after Ctrl-C.

Where no `fit` runs, `own_loop` listens to all optimizers and tapes, as `watch` asks.
"""

from vgkeras.callbacks.logger import SCALARS, GradientLogger
