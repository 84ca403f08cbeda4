/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Shows ThreadSanitizer the synchronisation of GLib and GStreamer, whose libraries are not
 * instrumented and whose mutexes are futexes. Preloaded by the test set-up "tsan": each function
 * announces an acquire or a release of its object and calls the library's own. */
#define _GNU_SOURCE
#define GLIB_DISABLE_DEPRECATION_WARNINGS
#include <dlfcn.h>
#include <gst/gst.h>
#include <sanitizer/tsan_interface.h>

#define EXPORT __attribute__ ((visibility ("default"), no_sanitize ("thread")))

/* Returns the library's function of that name. It is looked up once, as dlsym() takes the loader's
 * lock; threads that do so at the same time find the same function. */
#define NEXT(name)                                                 \
  ({                                                               \
    static gpointer function;                                      \
                                                                   \
    if (!g_atomic_pointer_get (&function))                         \
      g_atomic_pointer_set (&function, next_function (G_STRFUNC)); \
    (__typeof__ (&name)) g_atomic_pointer_get (&function);         \
  })

static __attribute__ ((no_sanitize ("thread"))) gpointer
next_function (const char *name)
{
  gpointer function = dlsym (RTLD_NEXT, name);

  if (!function)
    g_error ("no library has the function %s", name);
  return function;
}

/* Announces an atomic operation that reads and writes, as on a reference count. */
#define SYNCHRONISE(object) (__tsan_acquire (object), __tsan_release (object))

#define LOCK(name, type)           \
  EXPORT void (name) (type * lock) \
  {                                \
    NEXT (name) (lock);            \
    __tsan_acquire (lock);         \
  }

#define TRY_LOCK(name, type)              \
  EXPORT gboolean (name) (type * lock)    \
  {                                       \
    gboolean locked = NEXT (name) (lock); \
                                          \
    if (locked)                           \
      __tsan_acquire (lock);              \
    return locked;                        \
  }

#define UNLOCK(name, type)         \
  EXPORT void (name) (type * lock) \
  {                                \
    __tsan_release (lock);         \
    NEXT (name) (lock);            \
  }

LOCK (g_mutex_lock, GMutex)
TRY_LOCK (g_mutex_trylock, GMutex)
UNLOCK (g_mutex_unlock, GMutex)
LOCK (g_rec_mutex_lock, GRecMutex)
TRY_LOCK (g_rec_mutex_trylock, GRecMutex)
UNLOCK (g_rec_mutex_unlock, GRecMutex)
LOCK (g_rw_lock_writer_lock, GRWLock)
UNLOCK (g_rw_lock_writer_unlock, GRWLock)
LOCK (g_rw_lock_reader_lock, GRWLock)
UNLOCK (g_rw_lock_reader_unlock, GRWLock)

EXPORT void (g_cond_wait) (GCond *cond, GMutex *mutex)
{
  __tsan_release (mutex);
  NEXT (g_cond_wait) (cond, mutex);
  __tsan_acquire (mutex);
}

EXPORT
gboolean (g_cond_wait_until) (GCond *cond, GMutex *mutex, gint64 end)
{
  gboolean signalled;

  __tsan_release (mutex);
  signalled = NEXT (g_cond_wait_until) (cond, mutex, end);
  __tsan_acquire (mutex);
  return signalled;
}

EXPORT
gboolean (g_once_init_enter) (volatile void *location)
{
  gboolean first = NEXT (g_once_init_enter) (location);

  __tsan_acquire ((void *) location);
  return first;
}

EXPORT void (g_once_init_leave) (volatile void *location, gsize result)
{
  __tsan_release ((void *) location);
  NEXT (g_once_init_leave) (location, result);
}

EXPORT
gpointer (g_once_impl) (GOnce *once, GThreadFunc func, gpointer arg)
{
  gpointer result = NEXT (g_once_impl) (once, func, arg);

  SYNCHRONISE (once);
  return result;
}

EXPORT void (g_async_queue_push) (GAsyncQueue *queue, gpointer data)
{
  __tsan_release (queue);
  NEXT (g_async_queue_push) (queue, data);
}

EXPORT
gpointer (g_async_queue_pop) (GAsyncQueue *queue)
{
  gpointer data = NEXT (g_async_queue_pop) (queue);

  __tsan_acquire (queue);
  return data;
}

/* GstHarness takes buffers and events out of its queues by these two. */
EXPORT
gpointer (g_async_queue_try_pop) (GAsyncQueue *queue)
{
  gpointer data = NEXT (g_async_queue_try_pop) (queue);

  __tsan_acquire (queue);
  return data;
}

EXPORT
gpointer (g_async_queue_timeout_pop) (GAsyncQueue *queue, guint64 timeout)
{
  gpointer data = NEXT (g_async_queue_timeout_pop) (queue, timeout);

  __tsan_acquire (queue);
  return data;
}

EXPORT void (g_object_unref) (gpointer object)
{
  SYNCHRONISE (object);
  NEXT (g_object_unref) (object);
}

EXPORT void (gst_object_unref) (gpointer object)
{
  SYNCHRONISE (object);
  NEXT (gst_object_unref) (object);
}

EXPORT void (gst_mini_object_unref) (GstMiniObject *object)
{
  SYNCHRONISE (object);
  NEXT (gst_mini_object_unref) (object);
}

EXPORT void (g_bytes_unref) (GBytes *bytes)
{
  SYNCHRONISE (bytes);
  NEXT (g_bytes_unref) (bytes);
}

/* A bus passes messages through a lock-free queue. */
EXPORT
gboolean (gst_bus_post) (GstBus *bus, GstMessage *message)
{
  __tsan_release (bus);
  return NEXT (gst_bus_post) (bus, message);
}

EXPORT GstMessage *(
    gst_bus_timed_pop_filtered) (GstBus *bus, GstClockTime timeout, GstMessageType types)
{
  GstMessage *message = NEXT (gst_bus_timed_pop_filtered) (bus, timeout, types);

  __tsan_acquire (bus);
  return message;
}

/* So does a pool with buffers that were released by their last unref. */
EXPORT
GstFlowReturn (gst_buffer_pool_acquire_buffer) (GstBufferPool *pool, GstBuffer **buffer,
    GstBufferPoolAcquireParams *params)
{
  GstFlowReturn ret = NEXT (gst_buffer_pool_acquire_buffer) (pool, buffer, params);

  if (ret == GST_FLOW_OK)
    __tsan_acquire (*buffer);
  return ret;
}
