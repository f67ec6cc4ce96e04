"""What averaging does to a provoked loss spike. The measure, written down before the study was run.

A pair is two cells of one model, batch, peak learning rate, horizon and replicate whose schedules are `clean` and
`spiked`, which differ in the learning rates of a few updates only. Up to the first of these they are one trajectory;
after it they still see the same data in the same order. t0 is the last evaluated point that is not after the begin of
the spike; the weights there are the same. The window is what is evaluated in (t0, t0 + window_fraction × horizon].

L[a, t, r] is the loss on all validation tokens of the first domain, of the average `a` (`raw`: of the weights
themselves) at the point t of replicate r. The text is the same everywhere, so a difference of means is the mean of the
differences over its blocks; it is taken as fixed, and all intervals are Student's over replicates, at the study's level.

    excess[a, t, r] = L_spiked - L_clean                     what the spike costs there
    rise[a, t, r]   = L_spiked at t - L_spiked at t0         how far it stands above its own loss before the spike
    height[a, r]    = largest excess in the window
    share_removed[a]      = 1 - mean height[a]/mean height[raw]
    mean_share_removed[a] = 1 - mean excess[a] over the window/that of raw
    final_excess[a]       = excess at the end of the cell: lasting damage

Shares are ratios of means over replicates with the delete-one jackknife's standard error. The largest of several noisy
numbers is too large, which counts against averages, whose excess is small. An average whose snapshots reach back over
the spike holds spiked weights until its window has passed it: it may lower the height and lengthen the spike, which is
why the mean over the window is there too; `reaches_spike` marks those points.

Verdict on an average, the first that holds:

    no spike      nowhere in the window is the mean rise of the raw weights resolved: its interval never lies above zero
    removed       nowhere in the window is the mean rise of the average resolved, and the interval of share_removed lies
                  above zero
    reduced       the interval of share_removed lies above zero
    raised        it lies below zero
    not resolved  otherwise

Doubts. `removed` rests on a rise that is not resolved, so few replicates make it easier; `largest_rise` stands beside it
with the upper end of its interval. The loss falls along training, so a spike lower than that fall since t0 is no rise.
"""
