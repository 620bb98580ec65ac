/*
 * Suspend: what names machine frames is taken back before the toolstack saves this kernel; afterwards everything is
 * found anew, be it in other frames and under another number, or in the old place because saving was cancelled.
 */
#include "mini.h"

/* Says whether it went on at its old place. */
static int sleep_until_resumed(struct start_info *info)
{
    u32 reason = SHUTDOWN_SUSPEND;
    info->store_mfn = page_of_frame(info->store_mfn);
    info->console_mfn = page_of_frame(info->console_mfn);
    barrier();
    s64 result = hypercall(CALL_SCHED_OP, SCHEDOP_SHUTDOWN, ADDRESS(&reason), frame_of(info), 0);
    if (result == 0)
        return 0;
    info->store_mfn = p2m[info->store_mfn];
    info->console_mfn = p2m[info->console_mfn];
    return 1;
}

int suspend(struct start_info *info)
{
    peer_suspend();
    events_suspend();
    int cancelled = sleep_until_resumed(info);
    events_resume(info, cancelled);
    memory_describe();
    console_resume(info, cancelled);
    store_resume(info, cancelled);
    peer_resume(cancelled);
    return cancelled;
}
