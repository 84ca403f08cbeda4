/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Caps of tensors, with what NNStreamer's parser and the elements make of them. nnstreamer.c
 * compares the elements; tests/pipelines/nnstreamer compares NNStreamer, where its source is. */
#pragma once

#define TENSORS "other/tensors,format=(string)static,num_tensors=(int)1,types=(string)"

enum
{
  REFUSED,
  FEATURES,
  LATENTS
};

typedef struct
{
  const char *caps;
  int is_subset;          /* NNStreamer's pads take it */
  int is_valid;           /* NNStreamer parses it */
  const char *dimensions; /* NNStreamer's, innermost first */
  int size;               /* bytes in a buffer */
  int rate_n, rate_d;
  int taken_as; /* by the elements */
} TensorCaps;

static const TensorCaps tensor_caps[] = {
  { TENSORS "float32,dimensions=(string)64:5:10,framerate=(fraction)25/1", 1, 1, "64:5:10", 12800,
      25, 1, FEATURES },
  { TENSORS "float32,dimensions=(string)64:5:10:1,framerate=(fraction)25/1", 1, 1, "64:5:10:1",
      12800, 25, 1, FEATURES },
  { TENSORS "float32,dimensions=(string)64:5:10:1:1:1,framerate=(fraction)25/1", 1, 1,
      "64:5:10:1:1:1", 12800, 25, 1, FEATURES },
  { TENSORS "float32,dimensions=(string)64:5:10,framerate=(fraction)25/1,"
            "avatar=(string)features,model=(string)abc",
      1, 1, "64:5:10", 12800, 25, 1, FEATURES },
  { TENSORS "float32,dimensions=(string)64:5:10,framerate=(fraction)0/1", 1, 1, "64:5:10", 12800, 0,
      1, FEATURES },
  { TENSORS "float32,dimensions=(string)16:12:1:16,framerate=(fraction)25/4", 1, 1, "16:12:1:16",
      12288, 25, 4, LATENTS },
  { TENSORS "float32,dimensions=(string)16:12:1:16:1:1,framerate=(fraction)25/4", 1, 1,
      "16:12:1:16:1:1", 12288, 25, 4, LATENTS },
  { TENSORS "float32,dimensions=(string)16:12:1:16,framerate=(fraction)25/4,"
            "avatar=(string)latents,model=(string)abc",
      1, 1, "16:12:1:16", 12288, 25, 4, LATENTS },
  /* NNStreamer takes what the elements do not compute with. */
  { TENSORS "uint8,dimensions=(string)16:12:1:16,framerate=(fraction)25/4", 1, 1, "16:12:1:16",
      3072, 25, 4, REFUSED },
  { TENSORS "float16,dimensions=(string)64:5:10,framerate=(fraction)25/1", 1, 1, "64:5:10", 6400,
      25, 1, REFUSED },
  { TENSORS "float32,dimensions=(string)2:3:4:5:6,framerate=(fraction)25/1", 1, 1, "2:3:4:5:6",
      2880, 25, 1, REFUSED },
  { "other/tensors,format=(string)static,num_tensors=(int)2,types=(string)\"float32,float32\","
    "dimensions=(string)\"64:5:10,2:2\",framerate=(fraction)25/1",
      1, 1, "64:5:10,2:2", 12816, 25, 1, REFUSED },
  /* A dimension of 0 and a number that is none end the tensor. */
  { TENSORS "float32,dimensions=(string)16:0:1:16,framerate=(fraction)25/4", 1, 0, 0, 0, 0, 0,
      REFUSED },
  { TENSORS "float32,framerate=(fraction)25/4", 1, 0, 0, 0, 0, 0, REFUSED },
  { TENSORS "bfloat16,dimensions=(string)64:5:10,framerate=(fraction)25/1", 1, 0, 0, 0, 0, 0,
      REFUSED },
};
