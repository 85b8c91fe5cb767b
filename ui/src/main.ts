import { mount } from 'svelte';
import './app.css';
import App from './App.svelte';
import { loadText } from './lib/text/text.svelte';

// The words come first, so that nobody sees one language turn into another.
const target = document.getElementById('page');
if (target) void loadText().then(() => mount(App, { target }));
