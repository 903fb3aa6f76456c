function (keys, values, rereduce) {
  return Math.max.apply(null, values);
}
