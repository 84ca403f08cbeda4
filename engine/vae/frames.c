/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reads activations one group of frames at a time. The groups are those of the convolutions in both
 * cases, so that stored and recomputed frames are bit-identical. */
#include "engine/vae/frames.h"

AvatarVaeTensor
avatar_vae_alloc (AvatarOps *ops, gint64 t, gint64 h, gint64 w, gint64 c)
{
  AvatarVaeTensor x;

  x.t = avatar_ops_alloc (ops, 4, t, h, w, c);
  x.sums = avatar_ops_alloc_sums (ops, c);
  return x;
}

AvatarTensor
avatar_vae_rows (AvatarTensor t)
{
  return avatar_tensor_reshape (t, 2, t.shape[0] * t.shape[1] * t.shape[2], t.shape[3]);
}

AvatarVaeFrames
avatar_vae_frames_stored (const AvatarVaeTensor *x)
{
  AvatarVaeFrames self = { .t = x->t, .sums = x->sums };

  for (guint i = 0; i < 4; i++)
    self.shape[i] = x->t.shape[i];
  return self;
}

AvatarVaeFrames
avatar_vae_frames_computed (AvatarOps *ops, AvatarConv3d *conv, AvatarTensor conv_input,
    AvatarChannelSums sums)
{
  AvatarVaeFrames self = { .conv = conv, .conv_input = conv_input, .sums = sums };
  gsize mark = avatar_ops_mark (ops);
  AvatarVaeReader reader;

  for (guint i = 0; i < 3; i++)
    self.shape[i] = conv_input.shape[i];
  avatar_conv3d_get_output_size (conv, &self.shape[0], &self.shape[1], &self.shape[2]);
  self.shape[3] = avatar_conv3d_channels_out (conv);
  avatar_vae_reader_begin (ops, &reader, &self, &self.sums);
  while (avatar_tensor_is_set (avatar_vae_reader_next (ops, &reader)))
    ;
  avatar_ops_release (ops, mark);
  return self;
}

void
avatar_vae_reader_begin (AvatarOps *ops, AvatarVaeReader *self, const AvatarVaeFrames *frames,
    AvatarChannelSums *sums)
{
  const gint64 *s = frames->shape;

  *self = (AvatarVaeReader){ .frames = frames, .group = avatar_conv_group (ops, s[1], s[2]) };
  if (!frames->conv)
    return;
  self->buffer = avatar_ops_alloc (ops, 4, MIN (s[0], self->group), s[1], s[2], s[3]);
  avatar_conv_stream_begin (ops, &self->stream, frames->conv, NULL, frames->conv_input.shape[0],
      frames->conv_input.shape[1], frames->conv_input.shape[2], sums);
}

/* Computes the frames of the next group of the convolution's input. */
static AvatarTensor
compute_group (AvatarOps *ops, AvatarVaeReader *self)
{
  AvatarConvStream *stream = &self->stream;
  gint64 n = MIN (stream->frames - stream->next, stream->next ? stream->group : 1);
  AvatarTensor y = avatar_tensor_rows (self->buffer, 0, avatar_conv_stream_outputs (stream, n));

  avatar_conv_stream_push (ops, stream, y,
      avatar_tensor_rows (self->frames->conv_input, stream->next, n), AVATAR_NO_TENSOR);
  if (stream->next == stream->frames)
    avatar_conv_stream_end (ops, stream);
  return y;
}

AvatarTensor
avatar_vae_reader_next (AvatarOps *ops, AvatarVaeReader *self)
{
  gint64 n = MIN (self->frames->shape[0] - self->next, self->next ? self->group : 1);
  AvatarTensor y;

  if (n == 0)
    return AVATAR_NO_TENSOR;
  y = self->frames->conv ? compute_group (ops, self)
                         : avatar_tensor_rows (self->frames->t, self->next, n);
  g_assert (y.shape[0] == n);
  self->next += n;
  return y;
}
