package lustrelab

// RealImages is for tests from outside.
var RealImages = realImages
