mod cases;
mod forgeries;
mod machine;
mod words;
mod world;
