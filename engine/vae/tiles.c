/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Spatial and temporal tiles. Only the strips of a finished tile that later tiles blend with are
 * stored: the bottom rows of each tile of the row above, the right columns of the tile to the left,
 * the last frames of the temporal tile before. */
#include "engine/vae/tiles.h"

static AvatarVaeAxis
axis (gint64 in, gint64 out, guint overlap)
{
  return (AvatarVaeAxis){ in, in - in / overlap, out / overlap, out - out / overlap };
}

void
avatar_vae_tiles_init (AvatarVaeTiles *self, const AvatarVaeConfig *config, AvatarVaeKind kind,
    const AvatarVaeTileSettings *settings)
{
  gboolean decoder = kind == AVATAR_VAE_DECODER;
  gint64 tile_size = settings->tile_size, tile_frames = settings->tile_frames;
  gint64 cells = tile_size / config->spatial_ratio, latents = tile_frames / config->temporal_ratio;
  gint64 size_in = decoder ? cells : tile_size, size_out = decoder ? tile_size : cells;
  gint64 time_in = decoder ? latents : tile_frames, time_out = decoder ? tile_frames : latents;

  self->kind = kind;
  self->tiling = settings->tiling;
  self->groups = settings->tiling && settings->groups;
  self->fade_frames = self->groups ? settings->fade_frames : 0;
  self->spatial_ratio = config->spatial_ratio;
  self->temporal_ratio = config->temporal_ratio;
  self->channels_out = decoder ? config->out_channels : 2 * config->latent_channels;
  self->space = axis (size_in, size_out, settings->overlap);
  self->time = axis (time_in, time_out, settings->overlap);
}

gint64
avatar_vae_tiles_frames_out (const AvatarVaeTiles *self, gint64 frames_in)
{
  return self->kind == AVATAR_VAE_DECODER ? (frames_in - 1) * self->temporal_ratio + 1
                                          : (frames_in - 1) / self->temporal_ratio + 1;
}

gint64
avatar_vae_tiles_size_out (const AvatarVaeTiles *self, gint64 size_in)
{
  return self->kind == AVATAR_VAE_DECODER
      ? size_in * self->spatial_ratio
      : (size_in + self->spatial_ratio - 1) / self->spatial_ratio;
}

/* Returns a view of the last @n entries of dimension @dim. */
static AvatarTensor
last (AvatarTensor t, guint dim, gint64 n)
{
  return avatar_tensor_slice (t, dim, t.shape[dim] - n, n);
}

/* Blends the first @n entries of dimension @dim of @current in place with the last @n entries of
 * @before. Both have rank 4. */
static void
blend (AvatarOps *ops, AvatarTensor current, AvatarTensor before, guint dim, gint64 n)
{
  avatar_op_blend (ops, avatar_tensor_slice (current, dim, 0, n), last (before, dim, n), dim);
}

static gint64
n_tiles (gint64 size, gint64 step)
{
  return (size + step - 1) / step;
}

/* Processes one spatial tile.
 * @out, @x: views of the result and the input
 * @above: [T', blend, tile width, C'], the bottom rows of the tile above, or rank 0; replaced by
 *   those of this tile, in the memory @above_buffer
 * @left: [T', tile height, blend, C'], the right columns of the tile to the left; likewise */
static void
run_space_tile (const AvatarVaeTiles *self, AvatarOps *ops, AvatarTensor out, AvatarTensor x,
    AvatarTensor *above, AvatarTensor above_buffer, AvatarTensor *left, AvatarTensor left_buffer)
{
  const AvatarVaeAxis *axis = &self->space;
  gsize mark = avatar_ops_mark (ops);
  gint64 frames = out.shape[0], c = out.shape[3];
  gint64 h = avatar_vae_tiles_size_out (self, x.shape[1]);
  gint64 w = avatar_vae_tiles_size_out (self, x.shape[2]);
  AvatarTensor in = avatar_ops_alloc (ops, 4, x.shape[0], x.shape[1], x.shape[2], x.shape[3]);
  AvatarTensor tile = avatar_ops_alloc (ops, 4, frames, h, w, c);

  avatar_op_copy (ops, in, x);
  avatar_vae_network_run (self->network, ops, tile, in);
  if (avatar_tensor_is_set (*above))
    blend (ops, tile, *above, 1, MIN (above->shape[1], h));
  if (avatar_tensor_is_set (*left))
    blend (ops, tile, *left, 2, MIN (left->shape[2], w));
  avatar_op_copy (ops, out,
      avatar_tensor_slice (avatar_tensor_slice (tile, 1, 0, out.shape[1]), 2, 0, out.shape[2]));
  *above = avatar_tensor_slice (avatar_tensor_slice (above_buffer, 1, 0, MIN (axis->blend, h)), 2,
      0, w);
  avatar_op_copy (ops, *above, last (tile, 1, above->shape[1]));
  *left = avatar_tensor_slice (avatar_tensor_slice (left_buffer, 1, 0, h), 2, 0,
      MIN (axis->blend, w));
  avatar_op_copy (ops, *left, last (tile, 2, left->shape[2]));
  avatar_ops_release (ops, mark);
}

/* Processes @x [t, h, w, C] into @out [t', h', w', C'] in spatial tiles, or at once if it is not
 * larger than one tile. */
static void
run_space (const AvatarVaeTiles *self, AvatarOps *ops, AvatarTensor out, AvatarTensor x)
{
  const AvatarVaeAxis *axis = &self->space;
  gint64 h = x.shape[1], w = x.shape[2], tile_out = avatar_vae_tiles_size_out (self, axis->length);
  gint64 frames = out.shape[0], c = out.shape[3];
  gint64 columns = n_tiles (w, axis->step);
  gsize mark = avatar_ops_mark (ops);
  g_autofree AvatarTensor *above = NULL;
  AvatarTensor above_buffer, left_buffer;

  if (!self->tiling || (h <= axis->length && w <= axis->length)) {
    avatar_vae_network_run (self->network, ops, out, x);
    return;
  }
  above = g_new0 (AvatarTensor, columns);
  above_buffer = avatar_ops_alloc (ops, 5, columns, frames, axis->blend, tile_out, c);
  left_buffer = avatar_ops_alloc (ops, 4, frames, tile_out, axis->blend, c);
  for (gint64 y = 0; y < h; y += axis->step) {
    gint64 y_out = y / axis->step * axis->keep;
    AvatarTensor left = AVATAR_NO_TENSOR;
    AvatarTensor x_rows = avatar_tensor_slice (x, 1, y, MIN (axis->length, h - y));
    AvatarTensor out_rows
        = avatar_tensor_slice (out, 1, y_out, MIN (axis->keep, out.shape[1] - y_out));

    for (gint64 j = 0; j < columns; j++) {
      gint64 column = j * axis->step, column_out = j * axis->keep;
      AvatarTensor buffer = avatar_tensor_slice (above_buffer, 0, j, 1);

      buffer = avatar_tensor_reshape (buffer, 4, frames, axis->blend, tile_out, c);
      run_space_tile (self, ops,
          avatar_tensor_slice (out_rows, 2, column_out,
              MIN (axis->keep, out.shape[2] - column_out)),
          avatar_tensor_slice (x_rows, 2, column, MIN (axis->length, w - column)), &above[j],
          buffer, &left, left_buffer);
    }
  }
  avatar_ops_release (ops, mark);
}

AvatarVaeTimeState
avatar_vae_time_state_new (const AvatarVaeTiles *self, AvatarOps *ops, gint64 frames, gint64 h,
    gint64 w)
{
  AvatarVaeTimeState state = { 0 };
  gint64 h_out = avatar_vae_tiles_size_out (self, h), w_out = avatar_vae_tiles_size_out (self, w);
  gint64 n_tail = self->groups ? (self->fade_frames > 0 ? 1 : 0) : self->time.blend;

  state.tile = avatar_ops_alloc (ops, 4, avatar_vae_tiles_frames_out (self, frames), h_out, w_out,
      self->channels_out);
  if (self->tiling && n_tail > 0)
    state.tail = avatar_ops_alloc (ops, 4, n_tail, h_out, w_out, self->channels_out);
  return state;
}

AvatarTensor
avatar_vae_time_tile (const AvatarVaeTiles *self, AvatarOps *ops, AvatarVaeTimeState *state,
    AvatarTensor x, AvatarVaeTileScope scope)
{
  gint64 n = avatar_vae_tiles_frames_out (self, x.shape[0]), first = state->index > 0 ? 1 : 0;
  AvatarTensor tile = avatar_tensor_rows (state->tile, 0, n);

  run_space (self, ops, tile, x);
  state->index++;
  if (scope == AVATAR_VAE_TILE_WHOLE_STREAM)
    return tile;
  /* the frame of context belongs to the tile before */
  tile = avatar_tensor_rows (tile, first, n - first);
  n -= first;
  if (first)
    blend (ops, tile, avatar_tensor_rows (state->tail, 0, state->n_tail), 0,
        MIN (n, state->n_tail));
  state->n_tail = MIN (n, self->time.blend);
  avatar_op_copy (ops, avatar_tensor_rows (state->tail, 0, state->n_tail),
      last (tile, 0, state->n_tail));
  return avatar_tensor_rows (tile, 0, MIN (n, self->time.keep + 1 - first));
}

/* Adds what is missing in frame @first - 1 of @tile to be equal to @before, to the @n frames from
 * @first on, with a weight that decays to 0. Overwrites frame @first - 1. */
static void
fade (AvatarOps *ops, AvatarTensor tile, gint64 first, AvatarTensor before, gint64 n)
{
  AvatarTensor difference = avatar_tensor_rows (tile, first - 1, 1);

  avatar_op_axpby (ops, difference, 1, before, -1);
  for (gint64 i = 0; i < MIN (n, tile.shape[0] - first); i++)
    avatar_op_axpby (ops, avatar_tensor_rows (tile, first + i, 1), 1 - (i + 1.) / (n + 1),
        difference, 1);
}

AvatarTensor
avatar_vae_time_group (const AvatarVaeTiles *self, AvatarOps *ops, AvatarVaeTimeState *state,
    AvatarTensor x, gint64 context)
{
  gint64 n = avatar_vae_tiles_frames_out (self, x.shape[0]);
  gint64 first = context > 0 ? avatar_vae_tiles_frames_out (self, context) : 0;
  AvatarTensor tile = avatar_tensor_rows (state->tile, 0, n);

  run_space (self, ops, tile, x);
  state->index++;
  if (self->fade_frames > 0) {
    if (first > 0 && state->n_tail > 0)
      fade (ops, tile, first, state->tail, self->fade_frames);
    state->n_tail = 1;
    avatar_op_copy (ops, state->tail, last (tile, 0, 1));
  }
  return avatar_tensor_rows (tile, first, n - first);
}

void
avatar_vae_tiles_run (const AvatarVaeTiles *self, AvatarOps *ops, AvatarTensor out, AvatarTensor x)
{
  gint64 frames = x.shape[0], done = 0;
  gsize mark = avatar_ops_mark (ops);
  AvatarVaeTimeState state;

  if (!self->tiling || frames <= self->time.length) {
    run_space (self, ops, out, x);
    return;
  }
  state = avatar_vae_time_state_new (self, ops, self->time.length + 1, x.shape[1], x.shape[2]);
  /* a tile of only the frame of context has no frames of its own */
  for (gint64 i = 0; i == 0 || i + 1 < frames; i += self->time.step) {
    gint64 n = MIN (self->time.length + 1, frames - i);
    AvatarTensor tile = avatar_vae_time_tile (self, ops, &state, avatar_tensor_rows (x, i, n),
        AVATAR_VAE_TILE_PART_OF_STREAM);

    avatar_op_copy (ops, avatar_tensor_rows (out, done, tile.shape[0]), tile);
    done += tile.shape[0];
  }
  g_assert (done == out.shape[0]);
  avatar_ops_release (ops, mark);
}
