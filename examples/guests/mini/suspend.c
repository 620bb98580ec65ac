/*
 * Suspend: what names machine frames is taken back before the toolstack saves this kernel; afterwards everything is
 * found anew, be it in other frames and under another number, or in the old place because saving was cancelled.
 */
#include "mini.h"

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
