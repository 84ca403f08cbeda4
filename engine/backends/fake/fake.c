/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The simulated GPU. An upload from pinned memory fills its target with NaNs, and copies the data
 * only when a fence recorded after it is waited for: code that does not wait computes NaNs. */
#include "engine/backends/fake/fake.h"

#include "engine/backends/cpu/cpu.h"

#include <string.h>

struct _AvatarBackendDevice
{
  guint64 total;
  gsize used; /* atomic */
};

typedef struct
{
  void *dst;
  const void *src;
  gsize bytes;
} Upload;

struct _AvatarQueue
{
  GMutex lock;
  GArray *uploads; /* pending elements of type Upload */
  guint64 n_done, n_enqueued;
  GError *error;
};

struct _AvatarFence
{
  GMutex lock;
  AvatarQueue *queue; /* NULL until the fence is recorded */
  guint64 n_uploads;  /* uploads of the queue that the fence waits for */
};

static gint taken_mib, fail_memory_in, fail_host_in, fail_upload_in, n_allocated;
static gint operations, downloaded, call_in;
static void (*call_func) (gpointer data);
static gpointer call_data;

void
avatar_fake_take_memory (guint64 bytes)
{
  g_atomic_int_set (&taken_mib, bytes >> 20);
}

void
avatar_fake_fail_memory (guint n)
{
  g_atomic_int_set (&fail_memory_in, n);
}

void
avatar_fake_fail_host (guint n)
{
  g_atomic_int_set (&fail_host_in, n);
}

void
avatar_fake_fail_upload (guint n)
{
  g_atomic_int_set (&fail_upload_in, n);
}

guint
avatar_fake_count_memory (void)
{
  return g_atomic_int_get (&n_allocated);
}

guint
avatar_fake_count_downloaded (void)
{
  return g_atomic_int_get (&downloaded);
}

guint
avatar_fake_count_operations (void)
{
  return g_atomic_int_get (&operations);
}

void
avatar_fake_call_at (guint n, void (*func) (gpointer data), gpointer data)
{
  call_func = func;
  call_data = data;
  g_atomic_int_set (&call_in, n);
}

static gboolean
is_the_nth (gint *counter)
{
  return g_atomic_int_get (counter) > 0 && g_atomic_int_dec_and_test (counter);
}

static void
begin_operation (void)
{
  g_atomic_int_inc (&operations);
  if (is_the_nth (&call_in))
    call_func (call_data);
}

static guint
count_devices (GError **error)
{
  return AVATAR_FAKE_DEVICES;
}

/* Parses "sim:MIB" and "sim:MIB:N". */
static gboolean
parse_name (const char *name, guint64 *mib)
{
  g_auto (GStrv) parts = g_strsplit (name, ":", 4);
  guint n = g_strv_length (parts);
  guint64 index;

  return (n == 2 || (n == 3 && g_ascii_string_to_unsigned (parts[2], 10, 0, 1023, &index, NULL)))
      && strcmp (parts[0], "sim") == 0
      && g_ascii_string_to_unsigned (parts[1], 10, 1, 1 << 20, mib, NULL);
}

static AvatarBackendDevice *
open_device (const char *name, GError **error)
{
  guint64 mib;
  AvatarBackendDevice *self;

  if (!parse_name (name, &mib)) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_DEVICE,
        "device \"%s\" is unknown; expected \"sim:\" followed by a number of MiB, and \":N\" for "
        "further devices",
        name);
    return NULL;
  }
  self = g_new0 (AvatarBackendDevice, 1);
  self->total = mib << 20;
  self->used = AVATAR_FAKE_OVERHEAD;
  return self;
}

static void
close_device (AvatarBackendDevice *self)
{
  g_free (self);
}

static char *
describe (AvatarBackendDevice *self)
{
  return g_strdup_printf ("sim: a simulated GPU with %" G_GUINT64_FORMAT " MiB", self->total >> 20);
}

static void
memory_info (AvatarBackendDevice *self, guint64 *free_bytes, guint64 *total_bytes)
{
  guint64 taken = (gsize) g_atomic_pointer_get (&self->used)
      + ((guint64) g_atomic_int_get (&taken_mib) << 20);

  *total_bytes = self->total;
  *free_bytes = self->total - MIN (self->total, taken);
}

static guint64
overhead (AvatarBackendDevice *self)
{
  return AVATAR_FAKE_OVERHEAD;
}

static void *
memory_new (AvatarBackendDevice *self, gsize bytes)
{
  guint64 free_bytes, total;

  memory_info (self, &free_bytes, &total);
  if (bytes > free_bytes || is_the_nth (&fail_memory_in))
    return NULL;
  g_atomic_pointer_add (&self->used, (gssize) bytes);
  g_atomic_int_inc (&n_allocated);
  return g_aligned_alloc0 (bytes, 1, 256);
}

static void
memory_free (AvatarBackendDevice *self, void *memory, gsize bytes)
{
  g_atomic_pointer_add (&self->used, -(gssize) bytes);
  g_atomic_int_add (&n_allocated, -1);
  g_aligned_free (memory);
}

static void *
host_new (AvatarBackendDevice *self, gsize bytes)
{
  if (is_the_nth (&fail_host_in))
    return NULL;
  g_atomic_int_inc (&n_allocated);
  return g_malloc (bytes);
}

static void
host_free (AvatarBackendDevice *self, void *memory, gsize bytes)
{
  g_atomic_int_add (&n_allocated, -1);
  g_free (memory);
}

/* Copies the pending uploads among the first @n that were ever enqueued. */
static void
do_uploads (AvatarQueue *queue, guint64 n)
{
  g_mutex_lock (&queue->lock);
  while (queue->n_done < n && queue->uploads->len > 0) {
    Upload *u = &g_array_index (queue->uploads, Upload, 0);

    memcpy (u->dst, u->src, u->bytes);
    g_array_remove_index (queue->uploads, 0);
    queue->n_done++;
  }
  g_mutex_unlock (&queue->lock);
}

static AvatarQueue *
queue_new (AvatarBackendDevice *self, GError **error)
{
  AvatarQueue *queue = g_new0 (AvatarQueue, 1);

  g_mutex_init (&queue->lock);
  queue->uploads = g_array_new (FALSE, FALSE, sizeof (Upload));
  return queue;
}

static void
queue_free (AvatarQueue *queue)
{
  do_uploads (queue, G_MAXUINT64);
  g_array_unref (queue->uploads);
  g_mutex_clear (&queue->lock);
  g_clear_error (&queue->error);
  g_free (queue);
}

static gboolean
queue_check (AvatarQueue *queue, GError **error)
{
  if (!queue->error)
    return TRUE;
  g_propagate_error (error, g_error_copy (queue->error));
  return FALSE;
}

static gboolean
queue_sync (AvatarQueue *queue, GError **error)
{
  do_uploads (queue, G_MAXUINT64);
  return queue_check (queue, error);
}

static void
queue_throttle (AvatarQueue *queue)
{
}

static AvatarFence *
fence_new (AvatarBackendDevice *self)
{
  AvatarFence *fence = g_new0 (AvatarFence, 1);

  g_mutex_init (&fence->lock);
  return fence;
}

static void
fence_free (AvatarFence *fence)
{
  g_mutex_clear (&fence->lock);
  g_free (fence);
}

static void
fence_record (AvatarFence *fence, AvatarQueue *queue)
{
  g_mutex_lock (&queue->lock);
  g_mutex_lock (&fence->lock);
  fence->queue = queue;
  fence->n_uploads = queue->n_enqueued;
  g_mutex_unlock (&fence->lock);
  g_mutex_unlock (&queue->lock);
}

static void
fence_sync (AvatarFence *fence)
{
  AvatarQueue *queue;
  guint64 n_uploads;

  g_mutex_lock (&fence->lock);
  queue = fence->queue;
  n_uploads = fence->n_uploads;
  g_mutex_unlock (&fence->lock);
  if (queue)
    do_uploads (queue, n_uploads);
}

static void
fence_wait (AvatarFence *fence, AvatarQueue *queue)
{
  fence_sync (fence);
}

static void
upload (AvatarQueue *queue, void *dst, const void *src, gsize bytes, AvatarHostMemory kind)
{
  Upload u = { dst, src, bytes };

  if (is_the_nth (&fail_upload_in) && !queue->error)
    queue->error = g_error_new (AVATAR_ERROR, AVATAR_ERROR_DEVICE, "a simulated copy failed");
  if (queue->error)
    return;
  if (kind != AVATAR_HOST_PINNED) {
    do_uploads (queue, G_MAXUINT64);
    memcpy (dst, src, bytes);
    return;
  }
  memset (dst, 0xff, bytes);
  g_mutex_lock (&queue->lock);
  g_array_append_val (queue->uploads, u);
  queue->n_enqueued++;
  g_mutex_unlock (&queue->lock);
}

static void
download (AvatarQueue *queue, void *dst, const void *src, gsize bytes, AvatarHostMemory kind)
{
  do_uploads (queue, G_MAXUINT64);
  memcpy (dst, src, bytes);
  g_atomic_int_add (&downloaded, bytes);
}

static void
expand (AvatarQueue *queue, AvatarTensor y, AvatarTensor x)
{
  gint64 n = x.shape[x.rank - 1], m = avatar_tensor_n (x) / n;
  float *out = y.data;

  for (gint64 r = 0; r < m; r++)
    for (gint64 c = 0; c < n; c++) {
      gint64 i = r * n + c;

      if (x.dtype == AVATAR_I8)
        out[i] = ((const gint8 *) x.data)[i];
      else
        avatar_dtype_to_f32 (out + i, (const guint8 *) x.data + i * avatar_dtype_size (x.dtype),
            x.dtype, 1);
      if (x.scale)
        out[i] *= x.scale[r];
    }
}

/* The operations of the CPU back-end, which need no queue. CPU() defines a function that counts the
 * operation and calls the CPU's. */
static gsize
attention_workspace (AvatarBackendDevice *device, AvatarTensor q, AvatarTensor k,
    gint64 causal_block, AvatarTensor valid)
{
  return avatar_backend_cpu.attention_workspace (NULL, q, k, causal_block, valid);
}

static gsize
sparse_attention_workspace (AvatarBackendDevice *device, const AvatarSparseAttention *attention)
{
  return avatar_backend_cpu.sparse_attention_workspace (NULL, attention);
}

#define CPU(operation, parameters, arguments) \
  static void operation parameters            \
  {                                           \
    begin_operation ();                       \
    avatar_backend_cpu.operation arguments;   \
  }

CPU (linear,
    (AvatarQueue * queue, AvatarTensor y, AvatarTensor x, AvatarTensor w, AvatarTensor b,
        AvatarAct act, void *ws),
    (NULL, y, x, w, b, act, ws))
CPU (linear_add,
    (AvatarQueue * queue, AvatarTensor y, AvatarTensor x, AvatarTensor w, AvatarTensor b,
        AvatarTensor gate, AvatarTensor row_scale, void *ws),
    (NULL, y, x, w, b, gate, row_scale, ws))
CPU (layer_norm,
    (AvatarQueue * queue, AvatarTensor y, AvatarTensor x, AvatarTensor scale, AvatarTensor shift,
        AvatarNormScale factor, double eps),
    (NULL, y, x, scale, shift, factor, eps))
CPU (rms_norm_rope,
    (AvatarQueue * queue, AvatarTensor y, AvatarTensor x, AvatarTensor w, AvatarTensor cos,
        AvatarTensor sin, double eps),
    (NULL, y, x, w, cos, sin, eps))
CPU (rms_norm, (AvatarQueue * queue, AvatarTensor y, AvatarTensor x, AvatarTensor w, double eps),
    (NULL, y, x, w, eps))
CPU (rope_half, (AvatarQueue * queue, AvatarTensor x, AvatarTensor cos, AvatarTensor sin),
    (NULL, x, cos, sin))
CPU (attention,
    (AvatarQueue * queue, const AvatarAttention *attention, void *ws, const gint *cancelled),
    (NULL, attention, ws, cancelled))
CPU (key_blocks,
    (AvatarQueue * queue, const AvatarKeyBlocks *blocks, AvatarTensor k, AvatarTensor v),
    (NULL, blocks, k, v))
CPU (sparse_attention,
    (AvatarQueue * queue, const AvatarSparseAttention *attention, void *ws, const gint *cancelled),
    (NULL, attention, ws, cancelled))
CPU (frame_attention,
    (AvatarQueue * queue, AvatarTensor o, AvatarTensor q, AvatarTensor k, AvatarTensor v,
        double scale),
    (NULL, o, q, k, v, scale))
CPU (act, (AvatarQueue * queue, AvatarTensor x, AvatarAct a), (NULL, x, a))
CPU (silu_product, (AvatarQueue * queue, AvatarTensor y, AvatarTensor x), (NULL, y, x))
CPU (axpby, (AvatarQueue * queue, AvatarTensor y, double a, AvatarTensor x, double b),
    (NULL, y, a, x, b))
CPU (scale_round, (AvatarQueue * queue, AvatarTensor x, double factor, AvatarDType dtype),
    (NULL, x, factor, dtype))
CPU (find_non_finite, (AvatarQueue * queue, AvatarTensor flag, AvatarTensor x), (NULL, flag, x))
CPU (copy, (AvatarQueue * queue, AvatarTensor y, AvatarTensor x), (NULL, y, x))
CPU (mean_rows, (AvatarQueue * queue, AvatarTensor y, AvatarTensor x, AvatarTensor weight),
    (NULL, y, x, weight))
CPU (patchify,
    (AvatarQueue * queue, AvatarTensor y, AvatarTensor x, const guint patch[3],
        AvatarPatchDirection direction),
    (NULL, y, x, patch, direction))
CPU (conv3d_group,
    (AvatarQueue * queue, AvatarConvStream *stream, AvatarTensor y, AvatarTensor x,
        AvatarTensor residual),
    (NULL, stream, y, x, residual))

static gsize
linear_workspace (AvatarBackendDevice *device, AvatarTensor y, AvatarTensor x, AvatarTensor w)
{
  return avatar_backend_cpu.linear_workspace (NULL, y, x, w);
}

static gsize
linear_add_workspace (AvatarBackendDevice *device, AvatarTensor y, AvatarTensor x, AvatarTensor w)
{
  return avatar_backend_cpu.linear_add_workspace (NULL, y, x, w);
}

const AvatarBackend avatar_backend_fake = {
  .name = "sim",
  .discrete = TRUE,
  .activation = AVATAR_F32,
  .pixels = AVATAR_F32,
  .row_chunk = 1024,
  .conv_pixels = 1,
  .piece_flops = 4e9,
  .count = count_devices,
  .open = open_device,
  .close = close_device,
  .describe = describe,
  .memory_new = memory_new,
  .memory_free = memory_free,
  .memory_info = memory_info,
  .overhead = overhead,
  .host_new = host_new,
  .host_free = host_free,
  .queue_new = queue_new,
  .queue_free = queue_free,
  .queue_check = queue_check,
  .queue_sync = queue_sync,
  .queue_throttle = queue_throttle,
  .fence_new = fence_new,
  .fence_free = fence_free,
  .fence_record = fence_record,
  .fence_wait = fence_wait,
  .fence_sync = fence_sync,
  .upload = upload,
  .download = download,
  .expand = expand,
  .linear_workspace = linear_workspace,
  .linear_add_workspace = linear_add_workspace,
  .attention_workspace = attention_workspace,
  .sparse_attention_workspace = sparse_attention_workspace,
  .linear = linear,
  .linear_add = linear_add,
  .layer_norm = layer_norm,
  .rms_norm_rope = rms_norm_rope,
  .rms_norm = rms_norm,
  .rope_half = rope_half,
  .attention = attention,
  .supports_sparse_attention = avatar_cpu_supports_sparse_attention,
  .key_blocks = key_blocks,
  .sparse_attention = sparse_attention,
  .frame_attention = frame_attention,
  .act = act,
  .silu_product = silu_product,
  .axpby = axpby,
  .scale_round = scale_round,
  .find_non_finite = find_non_finite,
  .copy = copy,
  .mean_rows = mean_rows,
  .patchify = patchify,
  .blend = avatar_cpu_blend,
  .conv3d_bytes = avatar_cpu_conv3d_bytes,
  .conv3d_pack = avatar_cpu_conv3d_pack,
  .conv3d_sizes = avatar_cpu_conv3d_sizes,
  .conv3d_begin = avatar_cpu_conv3d_begin,
  .conv3d_seek = avatar_cpu_conv3d_seek,
  .conv3d_group = conv3d_group,
  .conv3d_end = avatar_cpu_conv3d_end,
  .channel_sums_workspace = avatar_cpu_channel_sums_workspace,
  .channel_sums = avatar_cpu_channel_sums,
  .group_norm = avatar_cpu_group_norm,
  .apply_norm = avatar_cpu_apply_norm,
  .to_bytes = avatar_cpu_to_bytes,
};
